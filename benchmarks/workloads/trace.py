"""Recorded traffic: every request at its second, time scaled to the rate asked for.

Scaling keeps the shape of bursts and shortens the reuse distance in seconds, not in requests. Where timestamps come in
steps (Mooncake: 3 s), a seed spreads the requests over the step; elsewhere it moves them by the mean gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from math import gcd
from random import Random

from benchmarks.workloads.workload import PLAIN, Arrival, Ask, Shape


@dataclass(slots=True, frozen=True)
class Recorded:
    """A request and the second it came at, before any scaling."""

    at: float
    ask: Ask


class TimedTrace:
    """A trace whose requests have a time each."""

    def __init__(
        self, name: str, identity: str, block_tokens: int, requests: Sequence[Recorded], shape: Shape = PLAIN
    ) -> None:
        if len(requests) < 2:
            raise ValueError("a trace needs at least two requests")
        self.name = name
        self.identity = identity
        self.block_tokens = block_tokens
        self.shape = shape
        self._requests = sorted(requests, key=lambda r: r.at)
        self._step_s = step_s([r.at for r in self._requests])

    @property
    def natural_rate(self) -> float:
        """Requests a second as recorded."""
        return len(self._requests) / self._span_s(len(self._requests))

    def arrivals(self, rate: float, rng: Random, limit: int | None = None) -> list[Arrival]:
        """The requests, or the first of them, time scaled."""
        chosen = self._requests[:limit]
        scale = len(chosen) / self._span_s(len(chosen)) / rate
        begin = chosen[0].at
        timed = [((r.at - begin + rng.random() * self._step_s) * scale, i) for i, r in enumerate(chosen)]
        return [Arrival(at, chosen[i].ask) for at, i in sorted(timed)]

    def _span_s(self, number: int) -> float:
        return self._requests[number - 1].at - self._requests[0].at + self._step_s


def step_s(times: Sequence[float]) -> float:
    """The step in which timestamps come, where many share one; else the mean gap."""
    distinct = sorted({round(t * 1000) for t in times})
    mean = (times[-1] - times[0]) / max(1, len(times) - 1)
    if len(distinct) * 2 > len(times) or len(distinct) < 2:
        return mean
    gaps = [b - a for a, b in pairwise(distinct)]
    common = sorted(gaps)[len(gaps) // 2]
    return max(mean, reduce(gcd, [g for g in gaps if abs(g - common) <= common // 10], common) / 1000)
