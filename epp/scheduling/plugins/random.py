"""Take any endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.scheduling.framework import Picker, Query
from epp.scheduling.lists import check_number, list_note


@dataclass(slots=True)
class RandomPicker(Picker):
    """Uniform over the endpoints, whatever their totals (llm-d `random-picker`)."""

    type: ClassVar[str] = "random-picker"
    max_num_of_endpoints: int = 1

    def __post_init__(self) -> None:
        check_number(self.max_num_of_endpoints)

    def notes(self) -> list[str]:
        """Gateways differ in what they make of a list."""
        return list_note(self.max_num_of_endpoints)

    def pick(self, query: Query, totals: Sequence[float]) -> int:
        """Any position."""
        return query.rng.randrange(len(totals))
