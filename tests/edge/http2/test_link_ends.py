"""How connections and servers end, and what their calls hear of it."""

from __future__ import annotations

import asyncio
import errno
import gc
from typing import Any

import pytest

from epp.edge import tls
from epp.edge.http2 import frames
from epp.edge.http2.call import Call
from epp.edge.http2.drive import Drive
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.link import Link, Served
from epp.edge.http2.stream import Http2Stream
from epp.edge.http2.tally import NoTally
from epp.edge.methods import Read, Write
from tests.edge.http2.peer import message
from tests.edge.http2.site import Client, anybody, serving
from tests.edge.until import until


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


async def test_a_call_that_cancels_itself_is_reset_and_the_connection_stays() -> None:
    async def gives_up(read: Read, write: Write) -> None:
        await read()
        raise asyncio.CancelledError

    async with serving(method=gives_up) as site:
        client = await Client.connected(site)
        client.call(1)
        reset = await client.frame(frames.RST_STREAM)
        client.call(3)
        again = await client.frame(frames.RST_STREAM)
        client.close()

        assert [(one.stream_id, one.code) for one in (reset, again)] == [(n, ErrorCode.CANCEL) for n in (1, 3)]


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
