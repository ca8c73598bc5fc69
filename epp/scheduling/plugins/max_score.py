"""Take the best endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.scheduling.framework import Picker, Query
from epp.scheduling.lists import check_number, list_note

ROUNDING = 1e-9


@dataclass(slots=True)
class MaxScorePicker(Picker):
    """The highest total, at random among equals, so that a burst at equal endpoints spreads (llm-d)."""

    type: ClassVar[str] = "max-score-picker"
    max_num_of_endpoints: int = 1

    def __post_init__(self) -> None:
        check_number(self.max_num_of_endpoints)

    def notes(self) -> list[str]:
        """Gateways differ in what they make of a list."""
        return list_note(self.max_num_of_endpoints)

    def pick(self, query: Query, totals: Sequence[float]) -> int:
        """The position of a highest total."""
        least = max(totals) - ROUNDING
        best = [i for i, total in enumerate(totals) if total >= least]
        return best[0] if len(best) == 1 else query.rng.choice(best)
