"""Take an endpoint at random, in proportion to its total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import ClassVar

from epp.scheduling.framework import Picker, Query
from epp.scheduling.lists import check_number, list_note


@dataclass(slots=True)
class WeightedRandomPicker(Picker):
    """The largest `U ** (1 / total)`, U uniform; totals of zero come last (A-Res, Efraimidis and Spirakis 2006; llm-d).

    Compared as `log(U) / total`, which has the same order and does not underflow for small totals.
    """

    type: ClassVar[str] = "weighted-random-picker"
    max_num_of_endpoints: int = 1

    def __post_init__(self) -> None:
        check_number(self.max_num_of_endpoints)

    def notes(self) -> list[str]:
        """Gateways differ in what they make of a list."""
        return list_note(self.max_num_of_endpoints)

    def pick(self, query: Query, totals: Sequence[float]) -> int:
        """A position, drawn in proportion to the totals."""
        keys = {i: log(1.0 - query.rng.random()) / total for i, total in enumerate(totals) if total > 0.0}
        if not keys:
            return query.rng.randrange(len(totals))
        return max(keys, key=keys.__getitem__)
