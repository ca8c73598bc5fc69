"""Prefer endpoints whose label says what a header of the request says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.framework import Query, Scorer


@dataclass(slots=True)
class HeaderLabelAffinityScorer(Scorer):
    """1 where the label equals the header, else 0; without the header 0 for all (llm-d)."""

    type: ClassVar[str] = "header-label-affinity-scorer"
    stage: ClassVar[Stage] = "alpha"
    header_name: str
    label_key: str

    def __post_init__(self) -> None:
        for name in ("header_name", "label_key"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from its labels."""
        wanted = query.request.headers.get(self.header_name.lower())
        if not wanted:
            return [0.0] * len(endpoints)
        return [float(e.labels.get(self.label_key) == wanted) for e in endpoints]
