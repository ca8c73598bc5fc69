"""Each endpoint in turn, whatever it has to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.scheduling.framework import Picker, Profile, Query


@dataclass(slots=True)
class RoundRobinPicker(Picker):
    """The next in the order of the list."""

    type: ClassVar[str] = "round-robin"
    turn: int = -1

    def pick(self, query: Query, totals: Sequence[float]) -> int:
        """One further than last time."""
        self.turn = (self.turn + 1) % len(totals)
        return self.turn


def profile() -> Profile:
    """Round robin."""
    return Profile("round-robin", picker=RoundRobinPicker())
