"""Refuse some of the requests that may be shed, more of them the fuller the pool is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from epp.domain import Endpoint, Reason, Refused
from epp.scheduling.framework import Admitter, Query


@dataclass(slots=True)
class ProbabilisticAdmitter(Admitter):
    """Requests of negative priority are refused with probability `min(1, k * saturation ** power)` (llm-d).

    Saturation is the mean over the endpoints of `max(waiting / queueDepthThreshold, kv_usage / kvCacheUtilThreshold)`.
    """

    type: ClassVar[str] = "probabilistic-admitter"
    differs: ClassVar[str] = (
        "A refusal is a 429, where the Go picker answers 500. Endpoints without a fresh sample are left out of the"
        " mean, where there they count as full."
    )
    queue_depth_threshold: float = 5.0
    kv_cache_util_threshold: float = 0.8
    power: float = 5.0
    k: float = 300.0
    stale_after_seconds: float = 2.0

    def __post_init__(self) -> None:
        for name in ("queue_depth_threshold", "kv_cache_util_threshold", "power", "k", "stale_after_seconds"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be above 0")

    def admit(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Draws for a request that may be shed. Raises `Refused`."""
        if query.request.priority >= 0:
            return
        saturation = self.saturation(query, endpoints)
        if query.rng.random() < min(1.0, self.k * saturation**self.power):
            raise Refused(Reason.SHED, "system saturated, sheddable request dropped")

    def saturation(self, query: Query, endpoints: Sequence[Endpoint]) -> float:
        """0 where nothing is known."""
        oldest = query.now - self.stale_after_seconds
        fresh = [load for e in endpoints if (load := e.load) is not None and load.at >= oldest]
        queue, cache = self.queue_depth_threshold, self.kv_cache_util_threshold
        full = [max((load.waiting or 0.0) / queue, (load.kv_usage or 0.0) / cache) for load in fresh]
        return sum(full) / len(full) if full else 0.0
