"""A line on a terminal that says how far the run is; nothing where standard error is no terminal."""

from __future__ import annotations

import sys

WIDTH = 24


class Progress:
    """Counts slices; what is shown last is wiped out by `close`."""

    def __init__(self, total: int) -> None:
        self._total = max(1, total)
        self._done = 0
        self._shows = sys.stderr.isatty()

    def now(self, what: str) -> None:
        """What is under way."""
        if self._shows:
            bar = "#" * (WIDTH * self._done // self._total)
            sys.stderr.write(f"\r\x1b[2K[{bar:<{WIDTH}}] {self._done}/{self._total} {what}")
            sys.stderr.flush()

    def step(self) -> None:
        """One more is done."""
        self._done += 1

    def close(self) -> None:
        """Leave the line clean."""
        if self._shows:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
