"""A safety net below the class ceilings: they go down while critical requests miss their SLO, and slowly up again.

Additive increase, multiplicative decrease, once a second, as in congestion control. Off unless asked for: in
simulation it helped only where the ceilings were wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW_S = 1.0
WINDOWS_MAX = 60  # made up for at once after a silence


@dataclass(slots=True)
class Guard:
    """Multiplies the ceilings that are not infinite. With the default ceiling of 0.35, 0.05 to 0.45 for the lowest."""

    missed_max: float = 0.03
    decrease: float = 0.85
    increase: float = 0.03
    lowest: float = 0.15
    highest: float = 1.3
    _factor: float = field(default=1.0, init=False)
    _window: float | None = field(default=None, init=False)
    _seen: int = field(default=0, init=False)
    _missed: int = field(default=0, init=False)

    def saw(self, missed: bool, now: float) -> None:
        """A critical request got its first token, within its SLO or not; or was refused."""
        self.factor(now)
        self._seen += 1
        self._missed += missed

    def factor(self, now: float) -> float:
        """What ceilings are to be multiplied by."""
        if self._window is None:
            self._window = now
        passed = int((now - self._window) / WINDOW_S)
        for _ in range(min(passed, WINDOWS_MAX)):
            self._turn()
        self._window += passed * WINDOW_S
        return self._factor

    def _turn(self) -> None:
        bad = self._seen > 0 and self._missed > self.missed_max * self._seen
        self._factor = self._factor * self.decrease if bad else self._factor + self.increase
        self._factor = min(self.highest, max(self.lowest, self._factor))
        self._seen = self._missed = 0
