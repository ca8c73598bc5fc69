"""Model servers that are dead, and that die at the worst moment."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.matrix.conftest import Observing
from tests.matrix.rows import Row
from tests.matrix.traffic import body_of, streaming

pytestmark = pytest.mark.asyncio(loop_scope="session")
AT_ONCE_S = 5.0


async def test_a_dead_server_costs_no_request(observing: Observing) -> None:
    body, _ = body_of(62_001)
    async with observing(Row.DEAD_ONE) as (site, seen):
        for name in ("llama3-8b-1", "phi4-mini-1"):
            await site.stack.fleet.kill(name)
        answers = [await site.ask(body, seconds=AT_ONCE_S) for _ in range(12)]

        lost = [a.status for a in answers if a.status != 200]
        if lost:
            seen.text = f"{len(lost)} of 12: {lost[0]}"


async def test_no_server_at_all_is_a_503(observing: Observing) -> None:
    async with observing(Row.DEAD_ALL) as (site, seen):
        for replica in site.replicas:
            await replica.kill()
        statuses = {(await site.ask(streaming(4), seconds=AT_ONCE_S)).status for _ in range(3)}
        await site.until(site.endpoints, lambda found: not any(e["reachable"] for e in found))
        statuses |= {(await site.ask(streaming(4), seconds=AT_ONCE_S)).status for _ in range(3)}
        if statuses != {503}:
            seen.text = " or ".join(map(str, sorted(statuses)))


async def test_another_server_answers_for_one_that_dies_before_its_answer(observing: Observing) -> None:
    async with observing(Row.DIES_COMPUTING) as (site, seen):
        with site.paused():
            asking = asyncio.create_task(site.ask({"model": "auto", "prompt": "go on", "max_tokens": 4}))
            busy = await site.busy()
            await busy.kill()
        answer = await asyncio.wait_for(asking, AT_ONCE_S)
        if answer.status != 200:
            seen.text = str(answer.status)


async def test_a_server_that_dies_during_its_answer_cuts_it_visibly(observing: Observing) -> None:
    async with observing(Row.DIES_ANSWERING) as (site, seen):
        with site.slowed(2_000):
            async with site.opened(streaming(4_000)) as (answer, _):
                await (await site.busy()).kill()
                try:
                    await asyncio.wait_for(answer.read(), AT_ONCE_S)
                    seen.text = "cut without an error"
                except aiohttp.ClientError:
                    pass
                except TimeoutError:
                    seen.text = "hangs"
