"""Clients that send slowly, and clients that leave."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.matrix.conftest import Observing
from tests.matrix.rows import Row
from tests.matrix.traffic import body_of, streaming, trickle

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(("row", "size"), [(Row.BODY_SLOW, 62_001), (Row.BODY_SLOW_5M, 5 << 20)])
async def test_a_client_that_sends_slowly_is_answered(observing: Observing, row: Row, size: int) -> None:
    body, prompt = body_of(size)
    async with observing(row) as (site, seen):
        answer = await site.ask(trickle(body, 30, 3.0), length=len(body))
        if answer.status != 200:
            seen.text = str(answer.status)
            return

        assert await site.knows(answer.headers["x-simulated-replica"], prompt)


async def test_a_client_that_leaves_while_it_sends_is_forgotten(observing: Observing) -> None:
    body, _ = body_of(1 << 20)
    async with observing(Row.GONE_SENDING) as (site, _seen):
        for sent in (0, 1, 62_000, 700_000):
            _, writer = await site.connect(body, sent)
            await site.until(site.streams, lambda count: count == 1)
            writer.transport.abort()
            await site.at_rest()


async def test_a_client_that_leaves_while_it_waits_is_forgotten(observing: Observing) -> None:
    body, _ = body_of(62_001)
    async with observing(Row.GONE_WAITING) as (site, _seen):
        with site.paused():
            _, writer = await site.connect(body, len(body))
            await site.busy()
            writer.transport.abort()
            await site.at_rest()


async def test_a_client_that_leaves_in_mid_answer_is_forgotten(observing: Observing) -> None:
    body = json.dumps(streaming(4_000)).encode()
    async with observing(Row.GONE_READING) as (site, _seen):
        with site.slowed(2_000):
            reader, writer = await site.connect(body, len(body))
            await asyncio.wait_for(reader.readuntil(b"data: "), 20)
            await site.busy()
            writer.transport.abort()
            await site.at_rest()
