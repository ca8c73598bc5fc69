"""What an informer does next: list or watch, from which version, after which pause.

Must stay true: a version is gone on from only as long as the server has not disowned it and was not away; each trouble
in a row doubles the pause up to its bound, and only a watch that proved itself ends the row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from epp.edge.kube.client import PAGE_OBJECTS, ApiError

DOUBLINGS_MAX = 16
WATCH_TROUBLES_MAX = 5


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds between attempts. `denied_s` is for what only a person can change: a missing right, a missing CRD.

    A watch that the server ends after `proven_s` was no trouble, even if it said nothing.
    """

    first_s: float = 0.2
    longest_s: float = 30.0
    denied_s: float = 30.0
    proven_s: float = 5.0


@dataclass(slots=True, eq=False)
class Course:
    """`version` to watch from; None where only a list can tell what there is. `troubles` counts those in a row."""

    rng: Random
    pauses: Pauses = field(default_factory=Pauses)
    version: str | None = None
    page_objects: int = PAGE_OBJECTS
    troubles: int = 0

    def listed(self, version: str) -> None:
        """The list is whole. The row of troubles goes on: lists between watches that fail are no progress."""
        self.version = version
        self.page_objects = PAGE_OBJECTS

    def list_failed(self, error: ApiError) -> float:
        """The pause before the next list; in one piece if this one expired between its pages."""
        if error.is_expired:
            self.page_objects = 0
        return self._pause(error)

    def heard(self, version: str) -> None:
        """An event or a bookmark came."""
        self.version = version
        self.troubles = 0

    def watch_ended(self, lasted_s: float) -> float:
        """The pause before the next watch, the server having closed this one, as it does now and then."""
        if lasted_s >= self.pauses.proven_s:
            self.troubles = 0
            return 0.0
        return self._pause(None)

    def watch_failed(self, error: ApiError) -> float:
        """The pause after a watch that could not be opened, or broke off.

        A server that was away may come back with another past (a restored backup), so only a list can be trusted
        then; and after many troubles in a row, whatever they are.
        """
        pause = self._pause(error)
        if error.is_away or error.is_expired or error.is_denied or self.troubles >= WATCH_TROUBLES_MAX:
            self.version = None
        return pause

    def _pause(self, error: ApiError | None) -> float:
        pause = min(self.pauses.first_s * 2.0 ** min(self.troubles, DOUBLINGS_MAX), self.pauses.longest_s)
        self.troubles += 1
        if error is not None and error.is_denied:
            pause = self.pauses.denied_s
        return pause * self.rng.uniform(0.5, 1.0)
