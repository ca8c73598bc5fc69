"""The discovery file on disk -> the pool: loaded at the start, watched for change.

Must stay true: a file that cannot be used changes nothing, except at the start, where it stops us; it is reported
once and not at every look, and a good file later is taken up by itself. The watch compares the file's identity
instead of subscribing to events, because a ConfigMap is updated by swapping a symlink beside the file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from epp.datastore import discovery
from epp.datastore.membership import Naming
from epp.datastore.pool import Listed, Pool
from epp.domain import ConfigError

log = logging.getLogger(__name__)

SETTLE_LOOKS_MAX = 10

_Identity = tuple[int, int, int, int, int]


class DiscoveryFile:
    """Keeps `pool` equal to the file at `path`; `on_reload` is called after each relist but the first.

    `naming` says which models endpoints serve by their labels.

    `reloads` and `failures` only grow; `last_error` says why the file on disk is not the one in use, None when it is.
    """

    def __init__(
        self,
        path: Path,
        pool: Pool,
        *,
        poll_s: float = 0.5,
        settle_s: float = 0.05,
        on_reload: Callable[[], None] = lambda: None,
        naming: Naming | None = None,
    ) -> None:
        self.naming = naming or Naming()
        self.path = path
        self.pool = pool
        self.poll_s = poll_s
        self.settle_s = settle_s
        self.on_reload = on_reload
        self.reloads = 0
        self.failures = 0
        self.last_error: str | None = None
        self._seen: _Identity | None = None

    def load(self) -> None:
        """The first read: fill the pool, or raise `ConfigError` with the file's path."""
        self._seen = self._identity()
        try:
            self.pool.relist(self._read())
        except OSError as error:
            raise ConfigError(str(self.path), _unreadable(error)) from error
        except ConfigError as mistake:
            raise ConfigError(f"{self.path}: {mistake.path}", mistake.message) from mistake

    async def watch(self) -> None:
        """Follow the file until cancelled."""
        while True:
            await asyncio.sleep(self.poll_s)
            if self._identity() != self._seen:
                await self._settle()
                await self._reload()

    async def _settle(self) -> None:
        """Wait until two looks agree: half of a file written in place may well be a valid, shorter list."""
        for _ in range(SETTLE_LOOKS_MAX):
            self._seen = self._identity()
            await asyncio.sleep(self.settle_s)
            if self._identity() == self._seen:
                return

    async def _reload(self) -> None:
        try:
            # In a thread, because a file of the largest size takes a second to parse.
            listed = await asyncio.to_thread(self._read)
        except OSError as error:
            # Nothing was read, so look again; a file that is gone looks the same until it is back.
            self._seen = None
            if _unreadable(error) != self.last_error:
                self._failed(_unreadable(error))
        except ConfigError as mistake:
            self._failed(str(mistake))
        else:
            self.pool.relist(listed)
            self.reloads += 1
            self.last_error = None
            log.info("discovery file %s reloaded: %d endpoints", self.path, len(listed))
            self.on_reload()

    def _failed(self, why: str) -> None:
        self.failures += 1
        self.last_error = why
        log.warning("discovery file %s is not used, the endpoints stay as they are: %s", self.path, why)

    def _read(self) -> list[Listed]:
        with self.path.open("rb") as file:
            listed = discovery.parse(file.read(discovery.FILE_BYTES_MAX + 1))
        return [replace(item, declared=self.naming.declared(item.labels)) for item in listed]

    def _identity(self) -> _Identity | None:
        """What changes when the file does; None while it cannot be looked at."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
