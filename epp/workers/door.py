"""A listening port whose connections go to workers: a `Server` (`edge/methods.py`) for whoever starts and stops it."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Protocol

from epp.edge.http2.server import bound

log = logging.getLogger(__name__)
REST_S = 1.0
ACCEPTED_MAX = 64  # in one turn of the loop


class Crew(Protocol):
    """Who serves them, by the place of the port among all."""

    def hand(self, place: int, accepted: socket.socket) -> None: ...

    async def leave(self, place: int, grace: float | None) -> None: ...

    def open(self, place: int) -> int: ...

    def turned_away(self, place: int) -> int: ...


class Door:
    """Bound when made. Raises OSError for a port that is taken."""

    def __init__(self, address: str, crew: Crew, place: int) -> None:
        self._listener = bound(address)
        self._listener.setblocking(False)
        self._crew = crew
        self._place = place
        self._wanted = self._reading = self._some = self._leaving = False
        self.port: int = self._listener.getsockname()[1]

    async def start(self) -> None:
        """Take connections as soon as a worker is there."""
        self._wanted = True
        self.serve(self._some)

    def serve(self, some: bool) -> None:
        """Whether any worker is there; until one is, connections wait in the kernel."""
        self._some = some
        if some and self._wanted and not self._reading:
            self._reading = True
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)
        elif not some:
            self._rest()

    async def stop(self, grace: float | None) -> None:
        """Take no more; open streams have `grace` seconds to end, and are cut off then."""
        self._wanted = False
        self._rest()
        self._listener.close()
        self._leaving = True
        await self._crew.leave(self._place, grace)
        self._leaving = False

    @property
    def open(self) -> int:
        """Streams that are open; at least one while workers have not said that all are through."""
        return max(self._crew.open(self._place), int(self._leaving))

    @property
    def turned_away(self) -> int:
        """Streams that were one too many."""
        return self._crew.turned_away(self._place)

    def _rest(self) -> None:
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        for _ in range(ACCEPTED_MAX):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as full:  # no more files: it would be tried again at once, for ever
                log.warning("port %d takes no connections for %g s: %s", self.port, REST_S, full.strerror)
                self._rest()
                asyncio.get_running_loop().call_later(REST_S, lambda: self.serve(self._some))
                return
            self._crew.hand(self._place, accepted)
