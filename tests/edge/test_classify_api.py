"""The classification API over HTTP: shapes of errors, bounds of size and number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from epp.edge.classify_api import AT_ONCE_MAX, BODY_BYTES_MAX, WAITING_MAX, ClassifyApi, Unanswered

Client = TestClient[web.Request, web.Application]


class Held:
    """Answers what it was asked, once it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.working = self.most = 0

    async def __call__(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self.working += 1
        self.most = max(self.most, self.working)
        await self.go.wait()
        self.working -= 1
        return dict(given)


async def missing(given: Mapping[str, Any]) -> dict[str, Any]:
    raise Unanswered(503, "NOT_AVAILABLE", "nobody can tell")


@asynccontextmanager
async def serving(held: Held) -> AsyncIterator[Client]:
    app = web.Application()
    ClassifyApi({"classify/intent": held, "eval": missing}).add_to(app)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_call_is_answered_in_json() -> None:
    held = Held()
    held.go.set()
    async with serving(held) as client:
        answer = await client.post("/api/v1/classify/intent?trace=true", json={"text": "x"})
        said = await answer.json()
        wrong = await client.get("/api/v1/classify/intent")

    assert (answer.status, said) == (200, {"text": "x", "trace": True})
    assert wrong.status == 405


@pytest.mark.parametrize("body", [b"", b"[]", b'{"text":', b'"secret words"', b"\xff\xfe"])
async def test_what_is_no_object_is_told_without_its_words(body: bytes) -> None:
    async with serving(Held()) as client:
        answer = await client.post("/api/v1/classify/intent", data=body)
        error = (await answer.json())["error"]

    assert (answer.status, error["code"]) == (400, "INVALID_INPUT")
    assert set(error) == {"code", "message", "timestamp"}
    assert "secret" not in error["message"]


def sized(size: int) -> BytesIO:
    return BytesIO(b'{"text": "' + b"x" * (size - 12) + b'"}')


async def test_a_request_has_a_size_it_may_not_exceed() -> None:
    held = Held()
    held.go.set()
    async with serving(held) as client:
        fits = await client.post("/api/v1/classify/intent", data=sized(BODY_BYTES_MAX))
        too_large = await client.post("/api/v1/classify/intent", data=sized(BODY_BYTES_MAX + 1))
        error = (await too_large.json())["error"]

    assert fits.status == 200
    assert (too_large.status, error["code"]) == (413, "REQUEST_TOO_LARGE")


async def test_a_reason_for_no_answer_is_told() -> None:
    async with serving(Held()) as client:
        answer = await client.post("/api/v1/eval", json={})
        said = await answer.json()

    assert (answer.status, said["error"]["code"]) == (503, "NOT_AVAILABLE")


async def test_only_so_many_are_at_work_and_only_so_many_wait() -> None:
    held = Held()
    async with serving(held) as client:
        asks = [
            asyncio.create_task(client.post("/api/v1/classify/intent", json={"text": "x"}))
            for _ in range(WAITING_MAX + 5)
        ]
        await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
        held.go.set()
        answers = await asyncio.gather(*asks)

    assert held.most == AT_ONCE_MAX
    assert sorted(answer.status for answer in answers) == [200] * WAITING_MAX + [429] * 5
