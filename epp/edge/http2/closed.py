"""How streams ended that are no more, for frames that were under way."""

from __future__ import annotations

from enum import Enum, auto

CLOSED_MAX = 1_000  # of them are remembered


class Closed(Enum):
    """How a stream ended."""

    BY_US = auto()  # what is still under way is ignored
    BY_RESET = auto()  # the peer's
    BY_BOTH = auto()


class ClosedStreams:
    """The last ones."""

    def __init__(self) -> None:
        self._how: dict[int, Closed] = {}

    def remember(self, stream_id: int, how: Closed) -> None:
        """It is no more."""
        closed = self._how
        closed[stream_id] = how
        if len(closed) > CLOSED_MAX:
            del closed[next(iter(closed))]

    def how(self, stream_id: int) -> Closed | None:
        """None where that is not known any more, or it never was."""
        return self._how.get(stream_id)
