"""Stay with the endpoints that hold most of the prompt, unless that makes the first token too late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from epp.domain import Endpoint
from epp.plugin import named
from epp.scheduling.framework import Filter, Query


@dataclass(slots=True)
class PrefixCacheAffinityFilter(Filter):
    """Keeps endpoints that hold `affinity_threshold` of the prompt or more, unless the others are so much sooner.

    Time to first token: `(tokens in flight + own uncached tokens) / peakPrefillThroughput`, or as predicted. If the
    best of those kept is later than the best of all by more than `maxTTFTPenaltyMs`, all stay; so they do with
    `explorationProbability`, and where none holds enough (llm-d).
    """

    type: ClassVar[str] = "prefix-cache-affinity-filter"
    needs: ClassVar[tuple[str, ...]] = ("prefix",)
    affinity_threshold: float = 0.8
    exploration_probability: float = 0.0
    max_ttft_penalty_ms: float = named("maxTTFTPenaltyMs", 18_000.0)
    ttft_source: Literal["prefillThroughput", "latencyPredictor"] = "prefillThroughput"
    peak_prefill_throughput: float = 15_928.0
    prefix_match_info_producer_name: str = ""

    def __post_init__(self) -> None:
        for name in ("affinity_threshold", "exploration_probability"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be from 0 to 1")
        if not self.max_ttft_penalty_ms >= 0.0:
            raise ValueError("max_ttft_penalty_ms must not be negative")
        if not self.peak_prefill_throughput > 0.0:
            raise ValueError("peak_prefill_throughput must be above 0 tokens a second")

    def facts(self) -> tuple[str, ...]:
        """With its second source, predictions."""
        return (*self.needs, "latency") if self.ttft_source == "latencyPredictor" else self.needs

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those that hold the prompt, or all."""
        cached, least = query.cached, self.affinity_threshold * query.hashed
        sticky = [e for e in endpoints if 0 < cached.get(e, 0) >= least]
        if not sticky or len(sticky) == len(endpoints):
            return list(endpoints)
        if self.exploration_probability and query.rng.random() < self.exploration_probability:
            return list(endpoints)
        waits = self._waits(query, endpoints)
        penalty_s = min(waits[e] for e in sticky) - min(waits.values())
        return sticky if penalty_s * 1000.0 <= self.max_ttft_penalty_ms else list(endpoints)

    def _waits(self, query: Query, endpoints: Sequence[Endpoint]) -> dict[Endpoint, float]:
        """Seconds to the first token."""
        if self.ttft_source == "latencyPredictor" and query.foreseen:
            return {e: query.foreseen[e].ttft_s for e in endpoints}
        prompt, cached, pace = query.request.prompt_tokens, query.cached, self.peak_prefill_throughput
        return {e: (e.inflight_tokens + max(0, prompt - cached.get(e, 0))) / pace for e in endpoints}
