"""Whose turn it is on a connection: who is read, who is answered, and who has to wait."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from typing import Any

from hpack import Encoder

from epp.edge.http2 import frames
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.link import UNTOLD_S_MAX, Link, Served
from epp.edge.http2.tally import NoTally
from epp.edge.methods import Read, Write
from tests.edge.http2.peer import HEADERS, message
from tests.edge.http2.site import BIG, EMPTY, Client, brought, serving
from tests.edge.until import until


async def test_a_ping_is_answered_before_the_work_that_came_with_it() -> None:
    """Gateways end a connection whose answer to a PING is late, and every request on it."""
    answered: list[bool] = []

    async def work(read: Read, write: Write) -> None:
        await read()
        answered.append(brought(raw, b"are you?"))

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
        for _ in range(6):
            client.say(*(frames.frame(frames.DATA, 0, 1, message(bytes(16_000))) for _ in range(6)))
            # The first tells how large the window is; each of the others comes long before it is half used.
            while (await client.frame(frames.WINDOW_UPDATE)).stream_id:
                pass
            await asyncio.sleep(1.5 * UNTOLD_S_MAX)
        client.close()

        assert Http2Limits().connection_window_bytes > 2 * 6 * 6 * 16_000


async def test_long_work_for_many_holds_up_no_answer_to_the_first() -> None:
    order: list[str] = []

    async def work(read: Read, write: Write) -> None:
        order.append("call")
        await write(b"answer")
        if brought(raw, b"answer"):
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
