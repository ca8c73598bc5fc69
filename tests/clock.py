"""The clock, which tests may put forward: what becomes of a thing when its time is over needs no waiting for it."""

from __future__ import annotations

import time


class Later:
    """In the place of `time.monotonic`, by which asyncio's own loops go, too."""

    def __init__(self) -> None:
        self.by_s = 0.0
        self._monotonic = time.monotonic

    def __call__(self) -> float:
        return self._monotonic() + self.by_s
