"""Take the best endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.scheduling.framework import Picker, Query

ROUNDING = 1e-9


@dataclass(slots=True)
class MaxScorePicker(Picker):
    """The highest total, at random among equals, so that a burst at equal endpoints spreads (llm-d)."""

    type: ClassVar[str] = "max-score-picker"

    def pick(self, query: Query, totals: Sequence[float]) -> int:
        """The position of a highest total."""
        least = max(totals) - ROUNDING
        best = [i for i, total in enumerate(totals) if total >= least]
        return best[0] if len(best) == 1 else query.rng.choice(best)
