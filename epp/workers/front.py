"""A worker: connections that are handed to it, their streams, and nothing that has to be known of more than one.

It ends when it is told to, or when the process that decides is gone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import pickle
import signal
import socket
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from random import Random
from typing import Any

from epp.edge.health import EXT_PROC, Health
from epp.edge.http2.link import Link
from epp.edge.http2.server import NativeServer
from epp.edge.methods import Methods, Read, Write
from epp.edge.processor import Processor
from epp.edge.stream import Shared, Stream
from epp.edge.tls import Pair
from epp.protocol.exchange import Buffers
from epp.transport import Transport
from epp.workers.asking import Asking, FarDirector
from epp.workers.counts import FarCounts
from epp.workers.messages import Bye, Certified, Down, Leave, Left, Ping, Pong, Ready, Serving, Shed, length_of
from epp.workers.pipe import Pipe
from epp.workers.setup import Port, Setup, part

log = logging.getLogger(__name__)
NEWS_S = 0.25  # counts that no message took along are told that often
POLL_S = 0.01
NEWS_S_MIN = 0.05  # and with messages no more often than that: each costs the process that decides
CARRYING_S = 10.0  # a connection that had a stream within them carries streams
HANDED_MAX = 64  # connections taken in one turn of the loop


def begin(end: socket.socket) -> Setup:
    """The first thing said on the pipe; waits for it. Raises EOFError where nobody is there any more."""
    setup = pickle.loads(_exactly(end, length_of(_exactly(end, 4))))  # from the process that started us
    assert isinstance(setup, Setup)
    return setup


def _exactly(end: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        more = end.recv(size - len(found))
        if not more:
            raise EOFError
        found += more
    return bytes(found)


async def work(setup: Setup, end: socket.socket, door: socket.socket) -> None:
    """Serve what comes through the door until the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal tells all of us; the process that decides says when
    front = Front(setup, door)
    pipe: Pipe[Down] = await Pipe.over(end, Down, front.heard, front.over.set)
    await front.serve(pipe)


class Carrier:
    """One connection: whether it carries streams, or is there to ask for health alone."""

    def __init__(self, server: NativeServer) -> None:
        self.server = server
        self.used_at = -math.inf
        self._leaving = False

    def left(self) -> None:
        """What it still carries does not count."""
        self.used_at, self._leaving = -math.inf, True

    def noting(self, methods: Methods) -> Methods:
        """The same methods; each stream is noted."""
        path = f"/{EXT_PROC}/Process"
        method = methods[path]

        def process(read: Read, write: Write) -> Coroutine[Any, Any, None]:
            if not self._leaving:
                self.used_at = time.monotonic()
            return method(read, write)

        return {**methods, path: process}


class Front:
    """All that a worker has."""

    def __init__(self, setup: Setup, door: socket.socket) -> None:
        settings = setup.settings
        self.over = asyncio.Event()
        self.pair = setup.pair
        self._door = door
        self._pipe: Pipe[Down] | None = None
        self._health = Health()
        self._health.set(ready=setup.ready)
        self._counts = FarCounts()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking = Asking(self._say)
        self._transport = Transport(settings, self if setup.pair is not None else None, self._counts)
        buffers = Buffers(
            settings.body_bytes_max, part(settings.body_bytes_total_max, setup.count, settings.body_bytes_max)
        )
        self._processors: list[Processor] = []
        self._servers: list[NativeServer] = []
        self._methods: list[Methods] = []
        self._news_at = 0.0
        self._carriers: dict[Link, Carrier] = {}
        for place, port in enumerate(setup.ports):
            self._add(place, port, setup, buffers)

    def _add(self, place: int, port: Port, setup: Setup, buffers: Buffers) -> None:
        settings, counts = setup.settings, self._counts
        director = FarDirector(place, self._asking, counts, time.monotonic, Random())
        shared = Shared(
            buffers, settings.usage_sample_every, settings.restore_model, settings.body_timeout, port.first_of_two
        )
        processor = Processor(
            lambda: Stream(director, counts, time.monotonic, shared),
            counts,
            part(settings.streams_max, setup.count),
        )
        self._processors.append(processor)
        methods = {**processor.methods(), **self._health.methods()}
        self._methods.append(methods)
        self._servers.append(self._transport.native(None, methods, plaintext=port.plaintext))

    async def serve(self, pipe: Pipe[Down]) -> None:
        """Until it is over."""
        self._pipe = pipe
        pipe.before_writing = self._news
        loop = asyncio.get_running_loop()
        self._door.setblocking(False)
        loop.add_reader(self._door.fileno(), self._handed)
        pipe.say(Serving())
        while not self.over.is_set():
            try:
                await asyncio.wait_for(self.over.wait(), NEWS_S)
            except TimeoutError:
                self._look()
                pipe.flush()
        loop.remove_reader(self._door.fileno())
        self._news_at = 0.0  # what was counted last is told, too
        pipe.close()
        await asyncio.sleep(0)

    def heard(self, message: Down) -> None:
        """Do what the process that decides says."""
        match message:
            case Ready():
                self._health.set(ready=message.ready)
            case Leave():
                self._run(self._leave(message.port, message.grace))
            case Certified():
                self.pair = Pair(message.chain, message.key, datetime.fromtimestamp(message.expires, UTC))
            case Ping():
                self._say(Pong())
            case Shed():
                self._shed()
            case Bye():
                self._run(self._end(message.grace))
            case _:
                self._asking.heard(message)

    async def _leave(self, port: int, grace: float | None) -> None:
        self._run(self._servers[port].stop(grace))  # which also waits for who watches our health
        await asyncio.sleep(0)
        while self._processors[port].open:
            await asyncio.sleep(POLL_S)
        self._say(Left(port))

    async def _end(self, grace: float) -> None:
        self._health.close()
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        self.over.set()

    def _handed(self) -> None:
        """Connections that were accepted for us."""
        for _ in range(HANDED_MAX):
            try:
                data, fds, _, _ = socket.recv_fds(self._door, 1, 1)
            except BlockingIOError:
                return
            for fd in fds:
                accepted = socket.socket(fileno=fd)
                accepted.setblocking(False)
                self._run(self._adopt(data[0], accepted))

    async def _adopt(self, place: int, accepted: socket.socket) -> None:
        server, carrier = self._servers[place], Carrier(self._servers[place])
        link = await server.adopt(accepted, carrier.noting(self._methods[place]))
        if isinstance(link, Link):
            self._carriers[link] = carrier

    def _look(self) -> None:
        """Forget the connections that are gone."""
        self._carriers = {link: carrier for link, carrier in self._carriers.items() if carrier.server.has(link)}

    def _carrying(self) -> int:
        since = time.monotonic() - CARRYING_S
        return sum(carrier.used_at > since for carrier in self._carriers.values())

    def _shed(self) -> None:
        """The one that was used last makes way: its streams end as they would, and its gateway opens another."""
        self._look()
        link, carrier = max(self._carriers.items(), key=lambda item: item[1].used_at, default=(None, None))
        if link is not None and carrier is not None and len(self._carriers) > 1:
            carrier.left()
            link.leave()

    def _run(self, does: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(does)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("a connection or a drain failed: %s", type(task.exception()).__name__)

    def _news(self) -> None:
        now = time.monotonic()
        if now < self._news_at:
            return
        self._news_at = now + NEWS_S_MIN
        news = self._counts.news(self._processors, self._carrying())
        if news is not None:
            self._say(news)

    def _say(self, message: Any) -> None:
        assert self._pipe is not None
        self._pipe.say(message)
