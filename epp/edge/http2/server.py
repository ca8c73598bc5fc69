"""The native transport: a port that speaks gRPC by our own HTTP/2."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.link import Link, Served
from epp.edge.http2.secure import Contexts
from epp.edge.http2.tally import NoTally, Tally
from epp.edge.methods import Methods

BACKLOG = 4096
POLL_S = 0.01
LEAVE_S = 1.0  # for peers without streams to go by themselves
CLOSE_S = 1.0  # for last words to be taken, and peers to close as well
CONNECTIONS_MAX = 10_000  # of one port; the kernel turns away who comes after that, by our closing at once


class NativeServer:
    """Bound when made. Raises OSError when the address cannot be bound.

    Without an address it listens nowhere (its port is 0), and has only the connections that `adopt` is given.
    """

    def __init__(
        self,
        address: str | None,
        methods: Methods,
        *,
        limits: Http2Limits,
        contexts: Contexts | None = None,
        detects: bool = False,
        tally: Tally | None = None,
        rng: Random | None = None,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self._socket = None if address is None else bound(address)
        self.port: int = 0 if self._socket is None else self._socket.getsockname()[1]
        self._served = Served(methods, limits, tally or NoTally(), contexts, detects)
        self._rng = rng or Random()
        self._connections_max = connections_max
        self._links: set[Link] = set()
        self._listening: asyncio.Server | None = None

    async def start(self) -> None:
        """Take connections."""
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            partial(self._link, self._served), sock=self._socket, backlog=BACKLOG
        )

    async def adopt(self, accepted: socket.socket, methods: Methods) -> asyncio.BaseProtocol:
        """Serve a connection that somebody else has accepted, with methods of its own."""
        served = replace(self._served, methods=methods)
        link: asyncio.BaseProtocol
        _, link = await asyncio.get_running_loop().connect_accepted_socket(partial(self._link, served), accepted)
        return link

    def has(self, link: Link) -> bool:
        """Whether that connection is still there."""
        return link in self._links

    async def stop(self, grace: float | None) -> None:
        """Take no more; open streams have `grace` seconds to end, and are cut off then. Again, with less, is fine."""
        if self._listening is not None:
            self._listening.close()
        elif self._socket is not None:
            self._socket.close()
        if grace:
            await self._drain(grace)
        for link in [*self._links]:
            link.cut()
        await self._gone(CLOSE_S)
        for link in [*self._links]:
            link.drop()
        await self._gone(CLOSE_S)

    async def _drain(self, grace: float) -> None:
        for link in [*self._links]:
            link.leave()
        await self._gone(min(grace, LEAVE_S))
        await self._gone(grace - LEAVE_S, idle=True)

    async def _gone(self, seconds: float, *, idle: bool = False) -> None:
        """Until there is no connection any more, or none that is not idle, but no longer than that."""
        clock = asyncio.get_running_loop().time
        ends = clock() + seconds
        while any(link.streams or not idle for link in self._links) and clock() < ends:
            await asyncio.sleep(POLL_S)

    def _link(self, served: Served) -> Any:
        if len(self._links) >= self._connections_max:
            self._served.tally.breached("connections_max")
            return _TurnedAway()
        limits = self._served.limits
        age_s = limits.age_s * (1 + limits.age_jitter * self._rng.uniform(-1, 1))
        link = Link(served, asyncio.get_running_loop(), self._links.discard, age_s)
        self._links.add(link)
        return link


class _TurnedAway(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def bound(address: str) -> socket.socket:
    """A listening socket at `host:port`, IPv6 in brackets. Raises OSError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, int(port)), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as refused:
        raise OSError(f"cannot listen on {address}: is the port taken?") from refused
