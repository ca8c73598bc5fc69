"""Prefer endpoints with a short queue, on a scale of its own rather than against the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer
from epp.scheduling.scores import fill_unknown

EMPTY = 0.5


@dataclass(slots=True)
class LoadAwareScorer(Scorer):
    """`0.5 * (1 - min(waiting, T) / T)`, T being `threshold`: 0.5 for an empty queue (llm-d `load-aware-scorer`)."""

    type: ClassVar[str] = "load-aware-scorer"
    differs: ClassVar[str] = "No fresh sample: the mean of the others, where the Go picker goes by the last one it had."
    inputs: ClassVar[tuple[str, ...]] = ("waiting",)
    threshold: int = 128
    stale_after_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.threshold <= 0:
            raise ValueError("threshold must be above 0")
        if not self.stale_after_seconds > 0:
            raise ValueError("stale_after_seconds must be above 0")

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the sampled `waiting`."""
        oldest, most = query.now - self.stale_after_seconds, self.threshold
        loads = [e.load for e in endpoints]
        waiting = [s.waiting if s is not None and s.at >= oldest else None for s in loads]
        return fill_unknown([None if w is None else EMPTY * (1.0 - min(w, most) / most) for w in waiting])
