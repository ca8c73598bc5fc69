"""Take any endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.scheduling.framework import Picker, Query


@dataclass(slots=True)
class RandomPicker(Picker):
    """Uniform over the endpoints, whatever their totals (llm-d `random-picker`)."""

    type: ClassVar[str] = "random-picker"

    def pick(self, query: Query, totals: Sequence[float]) -> int:
        """Any position."""
        return query.rng.randrange(len(totals))
