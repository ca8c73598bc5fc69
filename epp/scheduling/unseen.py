"""When prompts had their first token where no gateway shows it: from how many the engine counts, and their sum.

Engines compute prompts in order of arrival, so the `n` first tokens that an engine counts between two samples are those
of the `n` requests sent first, and each prompt began when it was sent or when the one before it was done. The sum of
their times to first token then leaves one unknown, how many times as long as predicted each took.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

KEPT_MAX = 1024  # requests of one endpoint; the oldest go first
HALVINGS = 12  # to within a thousandth of the bracket
RATIO_MAX = 64.0


@dataclass(slots=True, eq=False)
class Sent:
    """A request at an endpoint whose first token is not known of: when it was sent, and the shape of its prompt."""

    at: float
    shape_s: float


class Unseen:
    """Those of one endpoint, oldest first."""

    __slots__ = ("_sent",)

    def __init__(self) -> None:
        self._sent: deque[Sent] = deque(maxlen=KEPT_MAX)

    def __len__(self) -> int:
        return len(self._sent)

    def add(self, sent: Sent) -> None:
        """One more."""
        self._sent.append(sent)

    def drop(self, sent: Sent) -> None:
        """This one will have no first token; nothing where it is not there."""
        if sent in self._sent:
            self._sent.remove(sent)

    def clear(self) -> None:
        """What is counted from now on cannot be told apart."""
        self._sent.clear()

    def counted(
        self, count: int, seconds: float, done_at: float, predict: Callable[[float], float]
    ) -> Sequence[tuple[Sent, float]]:
        """So many first tokens came, `seconds` after they were sent, all added up; the one before them at `done_at`.

        Each with the moment it was done, oldest first. `predict` gives the seconds of a shape. None where more are
        counted than were sent: others send there, too.
        """
        if count > len(self._sent):
            self.clear()
            return ()
        those = [self._sent.popleft() for _ in range(count)]
        works = [predict(sent.shape_s) for sent in those]
        low, high = 0.0, RATIO_MAX
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high) if low else high / 8  # most are near 1
            if _total(those, works, done_at, middle) < seconds:
                low = middle
            else:
                high = middle
        return list(zip(those, _done(those, works, done_at, 0.5 * (low + high)), strict=True))


def _done(those: Sequence[Sent], works: Sequence[float], done_at: float, ratio: float) -> list[float]:
    found = []
    for sent, work in zip(those, works, strict=True):
        done_at = max(done_at, sent.at) + ratio * work
        found.append(done_at)
    return found


def _total(those: Sequence[Sent], works: Sequence[float], done_at: float, ratio: float) -> float:
    return sum(done - sent.at for sent, done in zip(those, _done(those, works, done_at, ratio), strict=True))
