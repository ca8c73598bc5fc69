"""Requests that wait, counted at each scrape: in the engines, and at our gate.

The engines' numbers are true at that moment, not as of the last step: what has been handed in and is not computed yet,
with those that were preempted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.sim.member import Member


@dataclass(slots=True)
class Queues:
    """Samples in order of time: seconds, requests in all engines, in the engine where they are most, at the gate."""

    at: list[float] = field(default_factory=list)
    engines: list[int] = field(default_factory=list)
    deepest: list[int] = field(default_factory=list)
    gate: list[int] = field(default_factory=list)

    def sample(self, now: float, members: Iterable[Member], gate: int) -> None:
        """Look once."""
        waiting = [len(m.replica.scheduler.inbox) + len(m.replica.scheduler.waiting) for m in members]
        self.at.append(now)
        self.engines.append(sum(waiting))
        self.deepest.append(max(waiting, default=0))
        self.gate.append(gate)

    def summary(self, begin: float, end: float) -> dict[str, float]:
        """Means over the samples in `[begin, end]` seconds; maxima from `begin` on."""
        counted = [n for n, at in enumerate(self.at) if begin <= at <= end]
        return {
            "waiting_engines_mean": _mean([self.engines[n] for n in counted]),
            "waiting_engines_max": _most(self.engines, counted),
            "waiting_engine_max": _most(self.deepest, counted),
            "waiting_gate_mean": _mean([self.gate[n] for n in counted]),
            "waiting_gate_max": _most(self.gate, counted),
        }


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0


def _most(values: Sequence[int], counted: Sequence[int]) -> float:
    return float(max(values[counted[0] :])) if counted else 0.0
