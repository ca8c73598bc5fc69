"""A token bucket: so much at once, and so much a second for ever."""

from __future__ import annotations


class Budget:
    """Starts full. Time fills it, never beyond `burst`."""

    __slots__ = ("_burst", "_left", "_per_s", "_since")

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._since = now

    def spend(self, now: float) -> bool:
        """Take one; whether there was one."""
        self._left = min(self._burst, self._left + (now - self._since) * self._per_s)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
