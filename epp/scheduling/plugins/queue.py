"""Prefer endpoints with few requests waiting inside the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer
from epp.scheduling.scores import fill_unknown, lowest_best


@dataclass(slots=True)
class QueueScorer(Scorer):
    """`(max - waiting) / (max - min)`, all equal: 1; no fresh sample: the mean of the others (llm-d `queue-scorer`)."""

    type: ClassVar[str] = "queue-scorer"
    inputs: ClassVar[tuple[str, ...]] = ("waiting",)
    stale_after_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not self.stale_after_seconds > 0:
            raise ValueError("stale_after_seconds must be above 0")

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the sampled `waiting`."""
        oldest = query.now - self.stale_after_seconds
        loads = [e.load for e in endpoints]
        return fill_unknown(lowest_best([s.waiting if s is not None and s.at >= oldest else None for s in loads]))
