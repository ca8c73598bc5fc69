"""Any workload whose rate changes in steps: time runs faster where more is asked for.

The order and the text of the requests stay, and the pattern of their arrivals within a phase. Requests that wait for
others (sessions) cannot be hurried so, and are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from benchmarks.workloads.around import Around
from benchmarks.workloads.workload import Arrival, Shape


@dataclass(slots=True, frozen=True)
class Phase:
    """So many seconds at `load` times the rate."""

    seconds: float
    load: float


@dataclass(frozen=True)
class Stepped(Around):
    """`inner` in phases; the last one goes on while there are requests. Half of the first is warm-up."""

    phases: tuple[Phase, ...]

    @property
    def name(self) -> str:
        return f"{self.inner.name}-step"

    @property
    def identity(self) -> str:
        return sha256(f"{self.inner.identity} {self.phases!r}".encode()).hexdigest()

    @property
    def shape(self) -> Shape:
        first = self.phases[0]
        return replace(self.inner.shape, warm_up=0.5 * first.seconds * first.load / self.weight)

    @property
    def weight(self) -> float:
        """Seconds that all phases would take at the rate itself."""
        return sum(phase.seconds * phase.load for phase in self.phases)

    def arrivals(self, rate: float, rng: Random, limit: int | None = None) -> list[Arrival]:
        """As many requests as the phases have place for. Raises ValueError for sessions."""
        wanted = round(rate * self.weight)
        found = self.inner.arrivals(rate, rng, wanted if limit is None else min(limit, wanted))
        for arrival in found:
            if arrival.after is not None:
                raise ValueError(f"{self.inner.name} has turns that wait for answers: no step can hurry them")
            arrival.at = self.second(arrival.at)
        return found

    def second(self, even: float) -> float:
        """When a request comes that would come at second `even` of an even rate."""
        begin = 0.0
        for phase in self.phases[:-1]:
            if even <= phase.seconds * phase.load:
                return begin + even / phase.load
            even -= phase.seconds * phase.load
            begin += phase.seconds
        return begin + even / self.phases[-1].load
