"""What scorers share that go by an engine's last sample alone."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint, Load
from epp.scheduling.framework import Query, Scorer


@dataclass(slots=True)
class SampledScorer(Scorer, ABC):
    """Goes by a sample while it is fresh."""

    differs: ClassVar[str] = (
        "A sample older than `staleAfterSeconds` (ours) says nothing, where the Go picker goes by the last one;"
        " a series that is missing is unknown, where there it is 0."
    )
    stale_after_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not self.stale_after_seconds > 0:
            raise ValueError("stale_after_seconds must be above 0")

    def fresh(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Load | None]:
        """Each endpoint's sample; None where there is no fresh one."""
        oldest = query.now - self.stale_after_seconds
        return [s if (s := e.load) is not None and s.at >= oldest else None for e in endpoints]
