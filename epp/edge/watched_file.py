"""A configuration file on disk -> what is built of it: at the start, and again whenever the file changes.

Must stay true: a file that cannot be used changes nothing, except at the start, where it stops us; it is reported
once and not at every look, and a good file later is taken up by itself. What is built is built aside and handed over
whole. The watch compares the file's identity instead of subscribing to events, because a ConfigMap is updated by
swapping a symlink beside the file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from epp.domain import ConfigError

log = logging.getLogger(__name__)

SETTLE_LOOKS_MAX = 10

T = TypeVar("T")


class WatchedFile(Generic[T]):
    """`build` makes the thing of the file, blocking, for a thread; it raises ConfigError, or OSError where the file
    cannot be read. `use` takes it over.

    `reloads` and `failures` only grow; `last_error` says why the file on disk is not the one in use, None when it is.
    """

    def __init__(
        self,
        path: Path,
        build: Callable[[], T],
        use: Callable[[T], None],
        *,
        what: str = "configuration",
        poll_s: float = 0.5,
        settle_s: float = 0.25,
    ) -> None:
        self.path = path
        self.poll_s = poll_s
        self.settle_s = settle_s
        self.reloads = 0
        self.failures = 0
        self.last_error: str | None = None
        self._build = build
        self._use = use
        self._what = what
        self._seen = self._identity()

    async def watch(self) -> None:
        """Follow the file until cancelled."""
        while True:
            await asyncio.sleep(self.poll_s)
            if self._identity() != self._seen:
                await self._settle()
                await self._reload()

    async def _settle(self) -> None:
        """Wait until two looks agree: half of a file written in place may well be valid, and shorter."""
        for _ in range(SETTLE_LOOKS_MAX):
            self._seen = self._identity()
            await asyncio.sleep(self.settle_s)
            if self._identity() == self._seen:
                return

    async def _reload(self) -> None:
        try:
            built = await asyncio.to_thread(self._build)
        except OSError as error:
            # Nothing was read, so look again; a file that is gone looks the same until it is back.
            self._seen = None
            if unreadable(error) != self.last_error:
                self._failed(unreadable(error))
        except ConfigError as mistake:
            self._failed(str(mistake))
        except Exception as surprise:  # a defect met in building must not end the process that serves
            log.exception("building from %s", self.path)
            self._failed(f"{self.path}: unexpected {type(surprise).__name__}")
        else:
            self._use(built)
            self.reloads += 1
            self.last_error = None
            log.info("the %s %s was reloaded%s", self._what, self.path, self._said(built))

    def _failed(self, why: str) -> None:
        self.failures += 1
        if why != self.last_error:
            where = "" if why.startswith(str(self.path)) else f"{self.path}: "
            log.warning("the %s is not used, the one before stays: %s%s", self._what, where, why)
        self.last_error = why

    def _said(self, built: T) -> str:
        """What the log says of it besides; for others to fill."""
        return ""

    def _identity(self) -> Hashable:
        """What changes when what is followed does; None while it cannot be looked at."""
        return identity(self.path)


def identity(path: Path) -> Hashable:
    """What changes when a file does; None while it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def unreadable(error: OSError) -> str:
    """Why a file could not be read."""
    return f"cannot be read: {error.strerror or error}"
