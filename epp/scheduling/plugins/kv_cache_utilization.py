"""Prefer endpoints with free KV cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer
from epp.scheduling.scores import fill_unknown


@dataclass(slots=True)
class KvCacheUtilizationScorer(Scorer):
    """`1 - kv_usage`; no fresh sample: the mean of the others (llm-d `kv-cache-utilization-scorer`)."""

    type: ClassVar[str] = "kv-cache-utilization-scorer"
    inputs: ClassVar[tuple[str, ...]] = ("kv_usage",)
    stale_after_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not self.stale_after_seconds > 0:
            raise ValueError("stale_after_seconds must be above 0")

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the sampled `kv_usage`."""
        oldest = query.now - self.stale_after_seconds
        loads = [e.load for e in endpoints]
        usages = [s.kv_usage if s is not None and s.at >= oldest else None for s in loads]
        return fill_unknown([None if usage is None else 1.0 - usage for usage in usages])
