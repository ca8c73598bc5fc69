"""Thousands of streams held and dropped at random: nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
from random import Random

import grpc
import pytest

from epp.edge.stream import Stream
from epp.protocol.exchange import Exchange
from tests.edge.test_server import Served, body, opening, serving
from tests.edge.transports import TRANSPORTS
from tests.make import chat

STREAMS = 2000
LEFT_BEHIND_S = 30


async def hold(served: Served, rng: Random, everyone_here: asyncio.Event, arrived: list[int]) -> None:
    """Opens a stream, goes as far as chance says, waits for all the others, and ends it one way or another."""
    stream = served.stub.Process()
    steps = rng.randrange(4)
    if steps > 0:
        await stream.write(opening())
    if steps > 1:
        await stream.write(body(chat("llama3-8b", f"{rng.random()}"), end=steps > 2))
    if steps > 2:
        await stream.read()
    arrived.append(steps)
    if len(arrived) == STREAMS:
        everyone_here.set()
    await everyone_here.wait()
    if rng.random() < 0.7:
        stream.cancel()
    else:
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass


def alive(kind: type) -> int:
    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("seed", [1, 2])
async def test_streams_held_and_dropped_at_random_leave_nothing_behind(seed: int, transport: str) -> None:
    rng = Random(seed)
    before = alive(Stream), alive(Exchange)
    everyone_here, arrived = asyncio.Event(), list[int]()
    async with serving(transport, 2 * STREAMS) as served:
        await asyncio.gather(*(hold(served, Random(rng.random()), everyone_here, arrived) for _ in range(STREAMS)))
        async with asyncio.timeout(LEFT_BEHIND_S):
            while served.processor.open:
                await asyncio.sleep(0.01)

    assert len(arrived) == STREAMS
    assert [(e.inflight_requests, e.inflight_tokens) for e in served.over.endpoints] == [(0, 0)] * 2
    assert (alive(Stream), alive(Exchange)) == before
