"""What a workload's answers were worth: who met the objectives of `bench sim`, and what the servers found cached."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.live.messages import Result, Shot
from benchmarks.sim.fleet import FleetSpec, Isolated
from benchmarks.sim.summary import Slo

_COUNTED = re.compile(r"^vllm:prefix_cache_(hits|queries)_total\{.*?\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Judged:
    """Of one slice: requests in time, prompt tokens that were looked up in a prefix cache, and those found there."""

    met: int
    queried_tokens: float
    hit_tokens: float


class Judge:
    """The objectives, and the servers to ask."""

    def __init__(self, fleet: FleetSpec, time_factor: float, addresses: Sequence[str], slo: Slo | None = None) -> None:
        self._slo = slo or Slo()
        self._isolated = Isolated(fleet)
        self._time_factor = time_factor
        self._addresses = addresses

    def met(self, shots: Sequence[Shot], result: Result) -> int:
        """How many whole answers kept both objectives; a GPU second is `time_factor` seconds here, whatever is due."""
        return sum(
            self._in_time(shots[s.shot], s.ttft_s, s.e2e_s, s.tokens) for s in result.samples if s.status == "200"
        )

    def _in_time(self, shot: Shot, ttft_s: float | None, e2e_s: float | None, tokens: int) -> bool:
        if ttft_s is None or e2e_s is None:
            return False
        limit = self._slo.ttft_s + self._slo.ttft_prefill_factor * self._isolated.seconds(shot.prompt_tokens)
        pace = (e2e_s - ttft_s) / (tokens - 1) if tokens > 1 else 0.0
        return ttft_s <= self._time_factor * limit and pace <= self._time_factor * self._slo.tpot_s

    async def cached(self) -> tuple[float, float]:
        """Prompt tokens looked up and found since the servers started, all of them together."""
        pages = await asyncio.to_thread(lambda: [_page(address) for address in self._addresses])
        return prefix_counts(pages)


def prefix_counts(pages: Sequence[str]) -> tuple[float, float]:
    """Tokens queried and hit, by vLLM's counters."""
    total = {"queries": 0.0, "hits": 0.0}
    for page in pages:
        for which, value in _COUNTED.findall(page):
            total[which] += float(value)
    return total["queries"], total["hits"]


def _page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text: bytes = answer.read()
    return text.decode()
