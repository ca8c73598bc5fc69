"""Does a piece of work once for many reasons that come close together.

Must stay true: after the last `soon` the work is done once more; it takes at most about a tenth of the loop's time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SHARE = 0.1
PAUSE_S_MAX = 1.0


class Together:
    """`soon` asks for `work`; the dearer it was last time, the longer the next one waits for company."""

    def __init__(
        self,
        work: Callable[[], None],
        loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.get_running_loop,
    ) -> None:
        self._work = work
        self._loop = loop
        self._due: asyncio.TimerHandle | None = None
        self._pause_s = 0.0

    def soon(self) -> None:
        """Do it, now or a little later. Callable only where a loop runs."""
        if self._due is None:
            self._due = self._loop().call_later(self._pause_s, self._do)

    def stop(self) -> None:
        """What was asked for is not needed any more."""
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _do(self) -> None:
        self._due = None
        now = self._loop().time
        began = now()
        self._work()
        self._pause_s = min((now() - began) / SHARE, PAUSE_S_MAX)
