"""A server on a real socket for the tests of connections, and a raw client of it."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hpack import Encoder

from epp.edge.health import Health
from epp.edge.http2 import frames
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.server import NativeServer
from epp.edge.methods import Read, Write
from tests.edge.http2.peer import HEADERS, PATH, Frame, message
from tests.edge.until import until

EMPTY = message(b"")
BIG = bytes(1 << 20)


class Counts:
    """What is told of connections."""

    def __init__(self) -> None:
        self.open = 0
        self.breaches: Counter[str] = Counter()

    def connected(self) -> None:
        self.open += 1

    def disconnected(self) -> None:
        self.open -= 1

    def breached(self, bound: str) -> None:
        self.breaches[bound] += 1


@dataclass
class Site:
    """A server whose one method echoes what it is told, and what became of its calls."""

    server: NativeServer
    counts: Counts
    ended: list[str] = field(default_factory=list)
    reads: int = 0


@asynccontextmanager
async def serving(
    *, method: Callable[[Read, Write], Any] | None = None, connections_max: int = 10, **options: Any
) -> AsyncIterator[Site]:
    parts = {name: options.pop(name) for name in ("contexts", "detects", "rng") if name in options}
    counts = Counts()

    async def echo(read: Read, write: Write) -> None:
        how = "cancelled"
        try:
            while (said := await read()) is not None:
                site.reads += 1
                await write(said)
            how = "ended"
        finally:
            site.ended.append(how)

    health = Health()
    health.set(ready=True)
    server = NativeServer(
        "127.0.0.1:0",
        {PATH: method or echo, **health.methods()},
        limits=Http2Limits(**options),
        tally=counts,
        connections_max=connections_max,
        **parts,
    )
    site = Site(server, counts)
    await server.start()
    try:
        yield site
    finally:
        await server.stop(None)
        await until(lambda: counts.open == 0)


class Client:
    """A raw connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = Encoder()
        self.heard: list[Frame] = []

    @classmethod
    async def connected(
        cls, site: Site, greet: bool = True, context: ssl.SSLContext | None = None, **settings: int
    ) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", site.server.port, ssl=context))
        if greet:
            client.say(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: settings.get("window", 65_535)}))
        return client

    def say(self, *said: bytes) -> None:
        self.writer.write(b"".join(said))

    def call(self, stream_id: int = 1, asked: bytes = EMPTY, end: bool = False) -> None:
        block = self.encoder.encode([*HEADERS.items()])
        self.say(frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, block))
        self.say(frames.frame(frames.DATA, int(end), stream_id, asked))

    async def frame(self, kind: int) -> Frame:
        """The next frame of this kind; pings are answered meanwhile."""
        async with asyncio.timeout(20):
            while True:
                head = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                found = Frame(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
                self.heard.append(found)
                if found.kind == frames.PING and not found.flags and kind != frames.PING:
                    self.say(frames.frame(frames.PING, frames.ACK, 0, payload))
                if found.kind == kind:
                    return found

    async def over(self) -> None:
        """Until the server has closed."""
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                while await self.reader.read(1 << 16):
                    pass
        self.close()

    def close(self) -> None:
        self.writer.close()


async def ask(port: int, credentials: grpc.ChannelCredentials | None = None) -> int:
    target, options = f"127.0.0.1:{port}", [("grpc.ssl_target_name_override", "localhost")]
    channel = (
        grpc.aio.insecure_channel(target)
        if credentials is None
        else grpc.aio.secure_channel(target, credentials, options)
    )
    async with channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    return int(answer.status)


def anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def brought(raw: socket.socket, what: bytes) -> bool:
    """Whether a socket has brought this."""
    return bool(select.select([raw], [], [], 0)[0]) and what in raw.recv(1 << 20, socket.MSG_PEEK)
