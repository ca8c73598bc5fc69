"""The discovery file on disk -> the pool: loaded at the start, watched for change as in `watched_file.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from epp.datastore import discovery
from epp.datastore.membership import Naming
from epp.datastore.pool import Listed, Pool
from epp.domain import ConfigError
from epp.edge.watched_file import WatchedFile, unreadable


class DiscoveryFile(WatchedFile[list[Listed]]):
    """Keeps `pool` equal to the file at `path`; `on_reload` is called after each relist but the first.

    `naming` says which models endpoints serve by their labels.
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
        super().__init__(path, self._read, self._relist, what="discovery file", poll_s=poll_s, settle_s=settle_s)
        self.naming = naming or Naming()
        self.pool = pool
        self.on_reload = on_reload

    def load(self) -> None:
        """The first read: fill the pool, or raise `ConfigError` with the file's path."""
        self._seen = self._identity()
        try:
            self.pool.relist(self._read())
        except OSError as error:
            raise ConfigError(str(self.path), unreadable(error)) from error
        except ConfigError as mistake:
            raise ConfigError(f"{self.path}: {mistake.path}", mistake.message) from mistake

    def _relist(self, listed: list[Listed]) -> None:
        self.pool.relist(listed)
        self.on_reload()

    def _read(self) -> list[Listed]:
        """For a thread: a file of the largest size takes a second to parse."""
        with self.path.open("rb") as file:
            listed = discovery.parse(file.read(discovery.FILE_BYTES_MAX + 1))
        return [replace(item, declared=self.naming.declared(item.labels)) for item in listed]

    def _said(self, built: list[Listed]) -> str:
        return f": {len(built)} endpoints"
