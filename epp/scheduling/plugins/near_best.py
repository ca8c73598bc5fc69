"""Take one of the best endpoints: what is nearly as good is as good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.scheduling.framework import Picker, Query


@dataclass(slots=True)
class NearBestPicker(Picker):
    """At random among those whose total is within the fraction `tolerance` of the highest.

    Predictions are not exact, and the difference between two good choices is less than their error: without a
    tolerance the endpoint that happens to look a trifle faster would get every request of an idle pool.
    """

    type: ClassVar[str] = "near-best-picker"
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        if not 0.0 <= self.tolerance < 1.0:
            raise ValueError("tolerance must be from 0 to below 1")

    def pick(self, query: Query, totals: Sequence[float]) -> int:
        """The position of one of the best."""
        highest = max(totals)
        least = highest - abs(highest) * self.tolerance
        best = [i for i, total in enumerate(totals) if total >= least]
        return best[0] if len(best) == 1 else query.rng.choice(best)
