"""Answers: many events, whole ones, and clients that read slowly."""

from __future__ import annotations

import asyncio
import json

import pytest

from benchmarks.simulator.answer import write_text
from tests.matrix.conftest import Observing
from tests.matrix.rows import Row
from tests.matrix.traffic import BACKEND_MODELS, streaming, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")
EVENTS = 3_000


async def test_every_event_comes_through_one_by_one(observing: Observing) -> None:
    async with observing(Row.EVENTS) as (site, _):
        with site.slowed(100):
            async with site.opened(streaming(EVENTS)) as (answer, first):
                in_flight = await site.in_flight()
                rest = await answer.read()

        assert answer.status == 200
        assert in_flight == 1
        assert whole(first + rest, EVENTS)


async def test_every_event_comes_through_in_large_writes(observing: Observing) -> None:
    async with observing(Row.EVENTS_LARGE) as (site, _):
        answer = await site.ask(streaming(EVENTS))

        assert answer.status == 200
        assert whole(answer.body, EVENTS)


async def test_a_whole_answer_is_as_the_server_wrote_it(observing: Observing) -> None:
    async with observing(Row.ANSWER_WHOLE) as (site, seen):
        asked = {**streaming(EVENTS), "stream": False}
        answers = [await site.ask(asked) for _ in range(20)]

        texts = {json.loads(a.body)["choices"][0]["text"] for a in answers if a.status == 200 and a.body}
        assert texts <= {write_text(model, EVENTS).decode() for model in BACKEND_MODELS}
        wrong = sum(a.status != 200 or not a.body for a in answers)
        if wrong:
            seen.text = f"{wrong} of 20 empty or not 200"


async def test_a_client_that_reads_slowly_gets_everything(observing: Observing) -> None:
    async with observing(Row.READER_SLOW) as (site, _):
        async with site.opened(streaming(EVENTS)) as (answer, first):
            pieces = [first]
            while piece := await answer.content.read(16_384):
                pieces.append(piece)
                await asyncio.sleep(0.05)

        assert whole(b"".join(pieces), EVENTS)
