"""Prefer endpoints with free KV cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query
from epp.scheduling.sampled import SampledScorer
from epp.scheduling.scores import fill_unknown


@dataclass(slots=True)
class KvCacheUtilizationScorer(SampledScorer):
    """`1 - kv_usage`; no fresh sample: the mean of the others (llm-d `kv-cache-utilization-scorer`)."""

    type: ClassVar[str] = "kv-cache-utilization-scorer"
    inputs: ClassVar[tuple[str, ...]] = ("kv_usage",)

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the sampled `kv_usage`."""
        usages = [None if s is None else s.kv_usage for s in self.fresh(query, endpoints)]
        return fill_unknown([None if usage is None else 1.0 - usage for usage in usages])
