"""Prefer endpoints whose engine runs few requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query
from epp.scheduling.sampled import SampledScorer
from epp.scheduling.scores import fill_unknown, lowest_best


@dataclass(slots=True)
class RunningRequestsSizeScorer(SampledScorer):
    """`(max - running) / (max - min)`, all equal: 1; no fresh sample: the mean of the others (llm-d)."""

    type: ClassVar[str] = "running-requests-size-scorer"
    inputs: ClassVar[tuple[str, ...]] = ("running",)

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the sampled `running`."""
        return fill_unknown(lowest_best([None if s is None else s.running for s in self.fresh(query, endpoints)]))
