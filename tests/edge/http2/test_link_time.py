"""What time brings to a connection: greetings, keep-alive, stalls, age, deadlines."""

from __future__ import annotations

import asyncio
import socket
import time
from random import Random
from typing import Any

import grpc
import pytest
import uvloop
from hpack import Encoder

from epp.edge import tls
from epp.edge.http2 import frames
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.link import Link, Served
from epp.edge.methods import Read, Write
from tests.edge.http2.peer import HEADERS, PATH, message
from tests.edge.http2.site import BIG, EMPTY, Client, Counts, brought, serving
from tests.edge.until import until


@pytest.mark.parametrize("said", [b"", frames.PREFACE[:10], frames.PREFACE])
async def test_who_does_not_greet_in_time_is_left(said: bytes) -> None:
    async with serving(preface_s=0.05) as site:
        client = await Client.connected(site, greet=False)
        client.say(said)
        goodbye = await client.frame(frames.GOAWAY)
        await client.over()

        assert goodbye.code is ErrorCode.SETTINGS_TIMEOUT
        assert site.counts.breaches == {"preface_s": 1}


async def test_who_has_not_said_anything_is_greeted() -> None:
    async with serving(preface_s=1000.0) as site:
        client = await Client.connected(site, greet=False)
        settings = await client.frame(frames.SETTINGS)
        client.close()

        assert not settings.flags


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
                    await until(lambda: brought(quiet, b"alive?"))
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
