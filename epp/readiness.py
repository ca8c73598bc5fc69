"""Whether this process is ready: when everything that must hold does.

Must stay true: what has not been heard of yet does not hold; whoever listens hears of changes only.
"""

from __future__ import annotations

from collections.abc import Callable


class Readiness:
    """Named conditions that all must hold; `tell` hears whether they do, at each change of that."""

    def __init__(self, tell: Callable[[bool], None], *names: str) -> None:
        self._tell = tell
        self._holds = dict.fromkeys(names, False)

    @property
    def ready(self) -> bool:
        """Whether all hold."""
        return all(self._holds.values())

    @property
    def missing(self) -> list[str]:
        """The names of those that do not hold."""
        return [name for name, holds in self._holds.items() if not holds]

    def set(self, name: str, holds: bool) -> None:
        """One of the conditions has been looked at."""
        assert name in self._holds
        before = self.ready
        self._holds[name] = holds
        if self.ready is not before:
            self._tell(self.ready)
