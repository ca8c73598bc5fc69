"""Which requests that run are cut off, where that is allowed, so that others find room: only what may be shed.

Must stay true: only requests of a lower priority than who waits, on endpoints that it accepts; the lowest priority
first, of these the newest, which has cost least; no more at a time than `evicted_at_once`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from epp.domain import Endpoint
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Booking

CONFIRMED, LAPSED = "confirmed", "lapsed"


def _unheard(outcome: str, seconds: float) -> None:
    """Nobody counts."""


@dataclass(slots=True, eq=False)
class Running:
    """A request that may be cut off: its lease, when it began, and what to call to cut it off."""

    priority: int
    began: float
    lease: Booking
    evict: Callable[[], None]


class Evictions:
    """Knows what may be cut off, and what has been told so and still runs.

    `over` hears what became of each that was told: it ended (`CONFIRMED`), or is not counted on any more (`LAPSED`),
    and after how many seconds.
    """

    def __init__(self, settings: FlowSettings) -> None:
        self._settings = settings
        self._running: dict[Running, None] = {}
        self._told: dict[Running, float] = {}
        self.over: Callable[[str, float], None] = _unheard

    def __len__(self) -> int:
        return len(self._running)

    @property
    def pending(self) -> int:
        """How many have been told to end and have not yet."""
        return len(self._told)

    def may(self, priority: int) -> bool:
        """Whether requests of that priority may be cut off."""
        return self._settings.evict and priority < self._settings.sheddable_below

    def add(self, running: Running) -> bool:
        """Whether the request may be cut off; it is remembered if so."""
        if not self.may(running.priority):
            return False
        self._running[running] = None
        return True

    def remove(self, running: Running, now: float) -> None:
        """It is over; twice is harmless."""
        self._running.pop(running, None)
        told = self._told.pop(running, None)
        if told is not None:
            self.over(CONFIRMED, now - told)

    def choose(self, priority: int, endpoints: Sequence[Endpoint], now: float) -> list[Running]:
        """Who makes room for a request of that priority that one of these endpoints could serve."""
        settings = self._settings
        if priority < settings.sheddable_below or not self._running:
            return []
        since = now - settings.evict_grace_s
        for running in [running for running, at in self._told.items() if at <= since]:
            self.over(LAPSED, now - self._told.pop(running))
        count = settings.evicted_at_once - len(self._told)
        if count <= 0:
            return []
        fit = [r for r in self._running if r.priority < priority and r.lease.endpoint in endpoints]
        chosen = sorted((r for r in fit if r not in self._told), key=lambda r: (r.priority, -r.began))[:count]
        self._told.update(dict.fromkeys(chosen, now))
        return chosen
