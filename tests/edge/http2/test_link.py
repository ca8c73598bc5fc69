"""Connections over real sockets: what time brings, TLS, leaving, and slow peers."""

from __future__ import annotations

import asyncio
import errno
import gc
import select
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import grpc
import pytest
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hpack import Encoder

from epp.edge import tls
from epp.edge.health import Health
from epp.edge.http2 import frames
from epp.edge.http2.call import Call
from epp.edge.http2.drive import Drive
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.link import Link, Served
from epp.edge.http2.server import NativeServer
from epp.edge.http2.stream import Http2Stream
from epp.edge.http2.tally import NoTally
from epp.edge.methods import Read, Reading, Write
from epp.edge.status import Code, Failed
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


# Time.


@pytest.mark.parametrize("said", [b"", frames.PREFACE[:10], frames.PREFACE])
async def test_who_does_not_greet_in_time_is_left(said: bytes) -> None:
    async with serving(preface_s=0.05) as site:
        client = await Client.connected(site, greet=False)
        client.say(said)
        goodbye = await client.frame(frames.GOAWAY)
        await client.over()

        assert goodbye.code is ErrorCode.SETTINGS_TIMEOUT
        assert site.counts.breaches == {"preface_s": 1}


async def test_who_does_not_shake_hands_in_time_is_left() -> None:
    pair = tls.self_signed([])
    async with serving(preface_s=0.05, contexts=tls.Contexts(lambda: pair)) as site:
        client = await Client.connected(site, greet=False)
        client.say(b"\x16\x03\x01")
        await client.over()

        assert site.counts.breaches == {"preface_s": 1}


async def test_who_says_nothing_is_asked_and_stays_if_it_answers() -> None:
    async with serving(keepalive_s=0.03, keepalive_timeout_s=5.0) as site:
        client = await Client.connected(site)
        for _ in range(3):
            ping = await client.frame(frames.PING)
            client.say(frames.frame(frames.PING, frames.ACK, 0, ping.payload))

        assert site.counts.breaches == {}
        client.close()


async def test_who_does_not_answer_is_gone_with_its_calls() -> None:
    async with serving(keepalive_s=0.03, keepalive_timeout_s=0.03) as site:
        client = await Client.connected(site)
        client.call()
        await client.frame(frames.PING)
        await client.over()
        await until(lambda: site.ended)

        assert site.ended == ["cancelled"]
        assert site.counts.breaches == {"keepalive_timeout_s": 1}


def _said(raw: socket.socket, what: bytes) -> bool:
    """Whether a socket has brought this."""
    return bool(select.select([raw], [], [], 0)[0]) and what in raw.recv(1 << 20, socket.MSG_PEEK)


class LaterLoop:
    """A loop whose clock can be put forward: its timers and sockets stay as they are."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.by_s = 0.0
        self._loop = loop

    def time(self) -> float:
        return self._loop.time() + self.by_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@pytest.mark.parametrize(("answers", "breaches"), [(2, {}), (1, {"keepalive_timeout_s": 1})])
def test_an_answer_that_lies_unread_while_the_loop_is_busy_counts(answers: int, breaches: dict[str, int]) -> None:
    """uvloop calls what time brings between a long piece of work and the reading of what came meanwhile."""
    counts = Counts()

    async def busy() -> None:
        async def work(read: Read, write: Write) -> None:
            while await read() is not None:
                if later.by_s < 600.0 * answers:
                    quiet.sendall(frames.frame(frames.PING, frames.ACK, 0, b"alive? \0"))
                later.by_s += 600.0
                time.sleep(0.05)  # noqa: ASYNC251  # until the next look is due

        later: Any = LaterLoop(asyncio.get_running_loop())
        limits = Http2Limits(keepalive_s=0.1, keepalive_timeout_s=300.0)
        served = Served({PATH: work}, limits, counts)
        server = await later.create_server(lambda: Link(served, later, lambda _: None), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        async with server:
            with socket.create_connection(address) as quiet, socket.create_connection(address) as other:
                quiet.sendall(frames.PREFACE + frames.settings({}) + frames.SETTINGS_ACK)
                quiet.setblocking(False)
                block = Encoder().encode([*HEADERS.items()])
                other.sendall(frames.PREFACE + frames.settings({}))
                other.sendall(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block))
                for turn in (1, 2):
                    await until(lambda: _said(quiet, b"alive?"))
                    quiet.recv(1 << 20)
                    other.sendall(frames.frame(frames.DATA, 0, 1, EMPTY))
                    await until(lambda turn=turn: later.by_s == 600.0 * turn)  # type: ignore[misc]
                    await asyncio.sleep(0.1)  # more than two looks

    uvloop.run(busy())

    assert counts.breaches == breaches


async def test_who_takes_slowly_what_waits_is_not_asked_for_more() -> None:
    """Our PING would stand behind what the socket does not take: no answer to it can come."""

    async def pour(read: Read, write: Write) -> None:
        while True:
            await write(BIG)

    async with serving(method=pour, keepalive_s=0.03, keepalive_timeout_s=0.03, stall_s=60.0) as site:
        client = await Client.connected(site, window=frames.WINDOW_LARGEST)
        client.say(frames.window_update(0, frames.WINDOW_LARGEST - 65_535))
        client.call()
        await asyncio.sleep(0.3)
        left = site.counts.open
        client.close()

        assert left == 1
        assert site.counts.breaches == {}


async def test_a_ping_is_answered_before_the_work_that_came_with_it() -> None:
    """Gateways end a connection whose answer to a PING is late, and every request on it."""
    answered: list[bool] = []

    async def work(read: Read, write: Write) -> None:
        await read()
        answered.append(_said(raw, b"are you?"))

    async with serving(method=work) as site:
        with socket.create_connection(("127.0.0.1", site.server.port)) as raw:
            block = Encoder().encode([*HEADERS.items()])
            raw.sendall(
                frames.PREFACE
                + frames.settings({})
                + frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block)
                + frames.frame(frames.DATA, frames.END_STREAM, 1, EMPTY)
                + frames.frame(frames.PING, 0, 0, b"are you?")
            )
            await until(lambda: answered)

    assert answered == [True]


async def test_after_a_full_read_others_are_read_first() -> None:
    """uvloop reads on from a socket that fills its buffer, 32 times, and looks at no other meanwhile."""
    turns: list[str] = []

    class Full(asyncio.Transport):
        def pause_reading(self) -> None:
            turns.append("paused")

        def resume_reading(self) -> None:
            turns.append("resumed")

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

        def write(self, data: Any) -> None: ...

        def is_closing(self) -> bool:
            return False

    link = Link(Served({}, Http2Limits(), NoTally()), asyncio.get_running_loop(), lambda link: None)
    link.connection_made(Full())
    link.data_received(frames.PREFACE + frames.settings({}) + frames.frame(frames.PING, 0, 0, bytes(8)))
    small = [*turns]
    link.data_received(frames.frame(0xB, 0, 0, bytes(16_000)) * 13)
    large = [*turns]
    await asyncio.sleep(0)
    link.connection_lost(None)

    assert small == []
    assert large == ["paused"]
    assert turns == ["paused", "resumed"]


async def test_who_sends_much_hears_while_it_is_read() -> None:
    async def gather(read: Read, write: Write) -> None:
        while await read() is not None:
            time.sleep(0.03)  # noqa: ASYNC251  # no answer comes of it

    async with serving(method=gather) as site:
        client = await Client.connected(site)
        client.call()
        heard = []
        for _ in range(10):
            await asyncio.sleep(0.05)
            client.say(*(frames.frame(frames.DATA, 0, 1, message(bytes(16_000))) for _ in range(6)))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    heard.append((await client.frame(frames.WINDOW_UPDATE)).stream_id)
        client.close()

    assert heard.count(0) >= 4  # the first tells how large the window is


async def test_long_work_for_many_holds_up_no_answer_to_the_first() -> None:
    order: list[str] = []

    async def work(read: Read, write: Write) -> None:
        order.append("call")
        await write(b"answer")
        if _said(raw, b"answer"):
            order.append("heard")

    async with serving(method=work) as site:
        with socket.create_connection(("127.0.0.1", site.server.port)) as raw:
            encoder = Encoder()
            raw.sendall(frames.PREFACE + frames.settings({}))
            await until(lambda: select.select([raw], [], [], 0)[0])
            raw.recv(1 << 20)
            blocks = [encoder.encode([*HEADERS.items()]) for _ in range(100)]
            raw.sendall(b"".join(frames.frame(frames.HEADERS, 5, 2 * n + 1, block) for n, block in enumerate(blocks)))
            await until(lambda: len(order) > 100)

    assert 0 < order.index("heard") < 90


async def test_who_takes_nothing_for_long_is_cut_off() -> None:
    async def pour(read: Read, write: Write) -> None:
        while True:
            await write(BIG)

    async with serving(method=pour, stall_s=0.1) as site:
        client = await Client.connected(site, window=frames.WINDOW_LARGEST)
        client.say(frames.window_update(0, frames.WINDOW_LARGEST - 65_535))
        client.call()
        await until(lambda: site.counts.open == 0)
        client.close()

        assert site.counts.breaches == {"stall_s": 1}


async def test_an_old_connection_makes_way_when_its_streams_have_ended() -> None:
    async with serving(age_s=0.05, age_jitter=0.0) as site:
        client = await Client.connected(site)
        client.call()
        first = await client.frame(frames.GOAWAY)
        second = await client.frame(frames.GOAWAY)
        open_still = site.counts.open
        client.say(frames.frame(frames.DATA, frames.END_STREAM, 1, message(b"last")))
        await client.over()

        assert [int.from_bytes(f.payload[:4], "big") for f in (first, second)] == [frames.STREAM_ID_LARGEST, 1]
        assert open_still == 1
        assert site.ended == ["ended"]


async def test_an_old_connection_is_cut_when_its_grace_is_over() -> None:
    async with serving(age_s=0.03, age_grace_s=0.03) as site:
        client = await Client.connected(site)
        client.call()
        await client.frame(frames.GOAWAY)
        await client.frame(frames.GOAWAY)
        await client.over()
        await until(lambda: site.ended)

        assert site.ended == ["cancelled"]


async def test_ages_differ_by_their_jitter() -> None:
    async with serving(age_s=1000.0, age_jitter=0.5, rng=Random(3)) as site:
        clients = [await Client.connected(site) for _ in range(8)]
        await until(lambda: site.counts.open == 8)
        ages = [link._age_s for link in site.server._links]
        for client in clients:
            client.close()

        assert len(set(ages)) == 8
        assert all(500 <= age <= 1500 for age in ages)


async def test_a_deadline_ends_a_call_with_its_status() -> None:
    async with serving() as site, grpc.aio.insecure_channel(f"127.0.0.1:{site.server.port}") as channel:
        call = channel.stream_stream(PATH)(timeout=0.1)
        await call.write(b"ask")
        code = await call.code()
        await until(lambda: site.ended)

        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert site.ended == ["cancelled"]


async def test_the_deadline_is_ours_too() -> None:
    """A client that never gives up by itself hears of it."""
    async with serving() as site:
        client = await Client.connected(site)
        block = client.encoder.encode([*HEADERS.items(), ("grpc-timeout", "20m")])
        client.say(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, block))
        trailers = await client.frame(frames.HEADERS)
        client.close()

        assert b"grpc-status\x014" in trailers.payload


# Messages that are answered in the call that brings them.


def passes(read: Read, passing: Callable[[bytes], list[bytes] | None]) -> None:
    assert isinstance(read, Reading)
    read.passing = passing


async def test_what_is_passed_is_answered_without_being_read_and_all_in_order() -> None:
    read_: list[bytes | None] = []

    def passing(message: bytes) -> list[bytes] | None:
        return None if message == b"3" else [b"passed " + message] * (message != b"2")

    async def some(read: Read, write: Write) -> None:
        passes(read, passing)
        while (said := await read()) is not None:
            read_.append(said)
            await write(b"read " + said)

    async with serving(method=some) as site, grpc.aio.insecure_channel(f"127.0.0.1:{site.server.port}") as channel:
        call = channel.stream_stream(PATH)(iter([b"%d" % n for n in range(6)]))
        answers = [answer async for answer in call]

    assert answers == [b"passed 0", b"passed 1", b"read 3", b"passed 4", b"passed 5"]
    assert read_ == [b"3"]


async def test_what_passing_raises_is_raised_where_the_message_would_have_been_read() -> None:
    raised: list[str] = []

    def passing(message: bytes) -> list[bytes] | None:
        raise ValueError(message)

    async def some(read: Read, write: Write) -> None:
        passes(read, passing)
        try:
            await read()
        except ValueError as error:
            raised.append(str(error))
            raise Failed(Code.INVALID_ARGUMENT, "no") from None

    async with serving(method=some) as site, grpc.aio.insecure_channel(f"127.0.0.1:{site.server.port}") as channel:
        call = channel.stream_stream(PATH)(iter([b"bad"]))
        code = await call.code()

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert raised == ["b'bad'"]


@pytest.mark.parametrize("passing", [None, lambda message: [b"passed"]])
async def test_who_passes_messages_reads_the_end_of_a_stream_that_is_reset_and_others_are_cancelled(
    passing: Callable[[bytes], list[bytes] | None] | None,
) -> None:
    ended: list[str] = []

    async def some(read: Read, write: Write) -> None:
        assert isinstance(read, Reading)
        read.passing = passing
        try:
            await write(b"here")
            ended.append(f"{await read()}, gone: {read.gone}")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with serving(method=some) as site, grpc.aio.insecure_channel(f"127.0.0.1:{site.server.port}") as channel:
        call = channel.stream_stream(PATH)()
        assert await call.read() == b"here"
        call.cancel()
        await until(lambda: bool(ended))

    assert ended == ["cancelled" if passing is None else "None, gone: True"]


async def test_an_answer_that_is_held_up_is_waited_for_and_not_passed() -> None:
    passed: list[int] = []

    def passing(message: bytes) -> list[bytes] | None:
        passed.append(len(message))
        return [message]

    async def some(read: Read, write: Write) -> None:
        passes(read, passing)
        while (said := await read()) is not None:
            site.reads += 1
            await write(said)

    async with serving(method=some) as site:
        client = await Client.connected(site, window=1000)
        client.call(1, message(bytes(10_000)))
        await client.frame(frames.DATA)
        client.say(*(frames.frame(frames.DATA, 0, 1, message(bytes(10_000))) for _ in range(35)))
        await until(lambda: len(passed) + site.reads == 8)
        await asyncio.sleep(0.1)
        stuck = len(passed), site.reads
        client.say(frames.window_update(1, 1 << 20), frames.window_update(0, 1 << 20))
        heard = 0
        while heard < 36 * 10_005:
            heard = sum(len(f.payload) for f in client.heard if f.kind == frames.DATA)
            if heard < 36 * 10_005:
                await client.frame(frames.DATA)
        client.close()

        assert stuck == (7, 1)  # 64 KiB are full with the seventh; one more is read, and its answer waits
        assert len(passed) + site.reads == 36


# Slow peers.


async def test_a_slow_reader_holds_one_answer_and_blocks_nobody() -> None:
    written: list[int] = []

    async def pour(read: Read, write: Write) -> None:
        if await read():
            await write(b"quick")
            return
        while True:
            await write(bytes(50_000))
            written.append(50_000)

    async with serving(method=pour) as site:
        client = await Client.connected(site, window=1000)
        client.call(1)
        client.call(3, message(b"quick"))
        while (await client.frame(frames.DATA)).stream_id != 3:
            pass
        wrote = len(written)
        client.close()

        assert wrote <= 2


async def test_a_full_socket_stops_who_writes() -> None:
    written: list[int] = []

    async def pour(read: Read, write: Write) -> None:
        while True:
            await write(BIG)
            written.append(1)

    async with serving(method=pour) as site:
        client = await Client.connected(site, window=frames.WINDOW_LARGEST)
        client.say(frames.window_update(0, frames.WINDOW_LARGEST - 65_535))
        client.call()
        (link,) = site.server._links
        await until(lambda: link._connection.outbound.held)
        before = len(written)
        for _ in range(20):
            await asyncio.sleep(0.005)
        after = len(written)
        for _ in range(2 * before + 40):  # it goes on when we read
            await client.frame(frames.DATA)
        client.close()

        assert after - before <= 1


async def test_what_one_read_brings_is_answered_in_one_write() -> None:
    async with serving() as site:
        client = await Client.connected(site)
        await client.frame(frames.SETTINGS)
        (link,) = site.server._links
        writes: list[int] = []
        link._transport = _Counting(link._transport, writes)  # type: ignore[assignment]
        for number in range(1, 41, 2):
            client.call(number, message(b"ask"), end=True)
        for _ in range(40):  # a head and trailers each
            await client.frame(frames.HEADERS)
        client.close()

        assert len(writes) <= 3  # in how many reads it came is the kernel's affair


class _Counting:
    """A transport that counts what it is given."""

    def __init__(self, transport: Any, writes: list[int]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, data: bytes) -> None:
        self._writes.append(len(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


# Ends.


async def test_a_reset_cancels_its_call_and_no_other() -> None:
    async with serving() as site:
        client = await Client.connected(site)
        client.call(1)
        client.call(3)
        await until(lambda: site.reads == 2)
        client.say(frames.reset(1, ErrorCode.CANCEL))
        await until(lambda: site.ended)
        client.say(frames.frame(frames.DATA, frames.END_STREAM, 3, message(b"on")))
        await until(lambda: len(site.ended) == 2)
        client.close()

        assert site.ended == ["cancelled", "ended"]


@pytest.mark.parametrize("how", ["close", "half close", "breach"])
async def test_however_a_connection_ends_its_calls_hear_of_it_and_others_do_not(how: str) -> None:
    async with serving(pings_burst=10) as site:
        client, other = await Client.connected(site), await Client.connected(site)
        client.call(1)
        other.call(1)
        await until(lambda: site.reads == 2)
        if how == "close":
            client.close()
        elif how == "half close":
            client.writer.write_eof()
        else:
            client.say(frames.frame(frames.PING, 0, 0, bytes(8)) * 11)
        await until(lambda: site.ended)
        other.say(frames.frame(frames.DATA, frames.END_STREAM, 1, message(b"on")))
        await until(lambda: len(site.ended) == 2)
        client.close()
        other.close()

        assert site.ended == ["cancelled", "ended"]
        assert site.counts.breaches == ({"pings_burst": 1} if how == "breach" else {})


@pytest.mark.parametrize("secure", [False, True])
async def test_who_goes_too_far_hears_why_whatever_it_still_sends(secure: bool) -> None:
    """With bytes that nobody reads a socket is closed by a reset, which takes what was sent from the peer's kernel."""
    pair = tls.self_signed([])
    parts: dict[str, Any] = {"contexts": tls.Contexts(lambda: pair)} if secure else {}
    async with serving(pings_burst=10, **parts) as site:
        client = await Client.connected(site, context=anybody() if secure else None)
        await client.frame(frames.SETTINGS)
        client.say(frames.frame(frames.PING, 0, 0, bytes(8)) * 11)
        for _ in range(50):  # more than one read, and still on its way when the goodbye is said
            client.say(frames.frame(frames.PING, 0, 0, bytes(8)) * 1_000)
            await asyncio.sleep(0.002)
        goodbye = await client.frame(frames.GOAWAY)
        rest = await client.reader.read(1)
        reset = client.reader.exception()
        client.close()
        await until(lambda: site.counts.open == 0)

        assert goodbye.code is ErrorCode.ENHANCE_YOUR_CALM
        assert (rest, reset) == (b"", None)
        assert site.counts.breaches == {"pings_burst": 1}


async def test_a_peer_that_has_just_reset_the_connection_leaves_no_error() -> None:
    done: list[str] = []

    class Gone(asyncio.Transport):
        def write_eof(self) -> None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

        def abort(self) -> None:
            done.append("aborted")

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

        def write(self, data: Any) -> None: ...

        def is_closing(self) -> bool:
            return False

    link = Link(Served({}, Http2Limits(), NoTally()), asyncio.get_running_loop(), lambda link: done.append("left"))
    link.connection_made(Gone())
    link.data_received(b"this is not HTTP/2, but so much of it that one can tell")
    link.connection_lost(None)

    assert done == ["aborted", "left"]


async def test_a_peer_that_does_not_close_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epp.edge.http2.link.LINGER_S", 0.05)
    async with serving(pings_burst=10) as site:
        client = await Client.connected(site)
        client.say(frames.frame(frames.PING, 0, 0, bytes(8)) * 11)
        await client.frame(frames.GOAWAY)
        await until(lambda: site.counts.open == 0)
        client.close()


async def test_one_connection_too_many_is_closed_and_counted() -> None:
    async with serving(connections_max=2) as site:
        clients = [await Client.connected(site) for _ in range(3)]
        await clients[2].over()
        clients[0].call(1, end=True)
        await clients[0].frame(frames.DATA)
        for client in clients:
            client.close()

        assert site.counts.breaches == {"connections_max": 1}


async def test_a_server_that_stops_lets_streams_end_and_takes_no_more() -> None:
    async with serving() as site:
        client = await Client.connected(site)
        client.call(1)
        await until(lambda: site.reads == 1)
        stopping = asyncio.create_task(site.server.stop(30))
        await client.frame(frames.GOAWAY)
        await client.frame(frames.GOAWAY)
        client.say(frames.frame(frames.DATA, frames.END_STREAM, 1, message(b"last")))
        await client.over()
        await stopping

        assert site.ended == ["ended"]
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", site.server.port)


async def test_a_peer_without_streams_that_stays_does_not_hold_up_a_server_that_stops() -> None:
    async with serving() as site:
        client = await Client.connected(site)
        await client.frame(frames.SETTINGS)
        async with asyncio.timeout(60):
            await site.server.stop(1000)
        client.close()

        assert site.counts.open == 0


OF_A_CALL = (Call, Drive, Http2Stream)


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_call_leaves_nothing_for_the_collector(how: str) -> None:
    async with serving() as site:
        client = await Client.connected(site)
        gc.collect()
        before = [thing for thing in gc.get_objects() if isinstance(thing, OF_A_CALL)]
        gc.disable()
        try:
            for number in range(1, 41, 2):
                client.call(number, message(b"ask"), end=how == "end")
            await until(lambda: site.reads == 20)
            if how == "reset":
                client.say(*(frames.reset(number, ErrorCode.CANCEL) for number in range(1, 41, 2)))
            await until(lambda: len(site.ended) == 20)
            await asyncio.sleep(0)
            after = [thing for thing in gc.get_objects() if isinstance(thing, OF_A_CALL)]
        finally:
            gc.enable()
        client.close()

        assert after == before  # what a test before left alive is no matter


async def test_a_server_that_has_waited_long_enough_cuts_what_is_open() -> None:
    async with serving() as site:
        client = await Client.connected(site)
        client.call(1)
        await until(lambda: site.reads == 1)
        await site.server.stop(0.05)
        await client.over()

        assert site.ended == ["cancelled"]


# What is no gRPC of ours.


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({":method": "GET"}, b"405"),
        ({":method": "HEAD"}, b"405"),
        ({"content-type": "application/json"}, b"415"),
        ({":path": "/unknown"}, b"grpc-status\x0212"),
        ({"grpc-encoding": "snappy"}, b"grpc-status\x0212"),
    ],
)
async def test_what_is_no_call_of_ours_is_answered_so(changed: dict[str, str], status: bytes) -> None:
    async with serving() as site:
        client = await Client.connected(site)
        block = client.encoder.encode([*{**HEADERS, **changed}.items()])
        client.say(frames.frame(frames.HEADERS, 5, 1, block))
        answer = await client.frame(frames.HEADERS)
        if status.startswith(b"4") and changed.get(":method") != "HEAD":
            assert (await client.frame(frames.DATA)).payload
        else:
            assert answer.flags & frames.END_STREAM
        client.close()

        assert status in answer.payload


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"name=value", b"405"),  # no message of gRPC, and not looked at
        (bytes([0, 0, 0, 0, 1, 7]), b"405"),
        (b"a=b", b"405"),  # too short to be told from the beginning of one
        (b"", None),  # less than was announced
    ],
)
async def test_what_is_no_call_is_answered_when_it_has_come_whole(body: bytes, answer: bytes | None) -> None:
    async with serving() as site:
        client = await Client.connected(site)
        announced = {**HEADERS, ":method": "PUT", "content-length": str(len(body) or 7)}
        client.say(frames.frame(frames.HEADERS, 4, 1, client.encoder.encode([*announced.items()])))
        client.say(frames.frame(frames.PING, 0, 0, b"are you?"))
        asked = await client.frame(frames.PING)
        early = [heard.kind for heard in client.heard if heard.stream_id]
        client.say(frames.frame(frames.DATA, 1, 1, body))
        told = await client.frame(frames.RST_STREAM if answer is None else frames.HEADERS)
        client.say(frames.frame(frames.PING, 0, 0, b"no more?"))
        await client.frame(frames.PING)
        client.close()

        assert sum(heard.kind == frames.HEADERS for heard in client.heard) == (answer is not None)
        assert asked.payload == b"are you?"
        assert early == []
        assert (answer or ErrorCode.PROTOCOL_ERROR.to_bytes(4, "big")) in told.payload


# TLS.


async def test_one_port_tells_tls_from_cleartext() -> None:
    pair = tls.self_signed([])
    async with serving(contexts=tls.Contexts(lambda: pair), detects=True) as site:
        told = [await ask(site.server.port), await ask(site.server.port, grpc.ssl_channel_credentials(pair.chain))]

        assert told == [health_pb2.HealthCheckResponse.SERVING] * 2


async def test_cleartext_on_a_port_of_tls_is_refused() -> None:
    pair = tls.self_signed([])
    async with serving(contexts=tls.Contexts(lambda: pair)) as site:
        client = await Client.connected(site)
        client.call(1)
        await client.over()

        assert site.reads == 0


async def test_large_messages_go_both_ways_over_tls() -> None:
    pair = tls.self_signed([])
    options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.max_receive_message_length", -1)]
    async with serving(contexts=tls.Contexts(lambda: pair)) as site:
        target, trust = f"127.0.0.1:{site.server.port}", grpc.ssl_channel_credentials(pair.chain)
        async with grpc.aio.secure_channel(target, trust, options) as channel:
            call = channel.stream_stream(PATH)()
            said = [bytes([number]) * (3 << 20) for number in range(4)]
            for each in said:
                await call.write(each)
            await call.done_writing()
            heard = [each async for each in call]

        assert heard == said


async def test_a_tls_client_that_closes_is_gone() -> None:
    pair = tls.self_signed([])
    async with serving(contexts=tls.Contexts(lambda: pair)) as site:
        client = await Client.connected(site, context=anybody())
        client.call(1)
        await until(lambda: site.reads == 1)
        client.close()
        await until(lambda: site.ended)

        assert site.ended == ["cancelled"]
