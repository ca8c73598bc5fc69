"""Requests that wait behind a real Envoy that fails open: it must never be the one to end a wait.

What Envoy lets through by itself has no receipt and reaches a replica; so every answer must have one, and the replica
must have seen what OneHop sent there, and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.client import Answer, Site, chat
from tests.e2e.conftest import Start

MODEL = "llama3-8b"
BACKLOG = "word " * 40_000  # 50,000 tokens: more than 3 s of prefill, by what the gate reckons with
SLO = {"x-llm-d-slo-ttft-ms": "4000"}
ONE: dict[str, Any] = {"models": {MODEL: (MODEL,)}, "replicas": 1, "semantic_config": None, "failure_mode_allow": True}


async def blocked(site: Site) -> asyncio.Task[Answer]:
    """The only replica is busy for many seconds with a long prompt, unless it goes on at its own pace."""
    site.stack.fleet[f"{MODEL}-0"].slowdown = 100.0  # about a second for each of its seven steps
    first = asyncio.create_task(site.post(chat(MODEL, BACKLOG)))
    await site.until(lambda: asyncio.sleep(0, seen(site)), lambda count: count == 1)
    return first


async def several(site: Site, count: int = 8) -> list[Answer]:
    return await asyncio.gather(*(site.post(chat(MODEL, f"question {n}"), **SLO) for n in range(count)))


def seen(site: Site) -> int:
    return site.stack.fleet[f"{MODEL}-0"].requests_seen


def goes_on(site: Site) -> None:
    site.stack.fleet[f"{MODEL}-0"].slowdown = 1.0


@pytest.mark.parametrize(
    ("timeouts", "wiring", "at_least_s", "at_most_s"),
    [((1.0, 6.0), "buffered", 3.5, 4.0), ((1.0, 0.0), "buffered", 0.6, 0.8), ((1.0, 0.0), "duplex", 3.5, 4.0)],
    ids=["extended", "not extended", "no timeout in full duplex"],
)
async def test_no_wait_is_ended_by_the_gateway(
    start: Start, timeouts: tuple[float, float], wiring: str, at_least_s: float, at_most_s: float
) -> None:
    message_s, message_s_max = timeouts
    more = {"message_timeout_s": message_s, "message_timeout_s_max": message_s_max}
    async with start(**ONE, **more, wiring=wiring) as site:
        first = await blocked(site)
        answers = await several(site)
        receipts = [await site.receipt(answer) for answer in answers]

        assert [a.status for a in answers] == [429] * len(answers)
        assert {a.json["error"]["code"] for a in answers} == {"queue_timeout"}
        assert {a.headers["x-llm-d-request-dropped-reason"] for a in answers} == {"rejected-ttl-expired"}
        assert all(int(a.headers["retry-after"]) >= 1 for a in answers)
        assert seen(site) == 1
        assert all(at_least_s <= r["waited_s"] <= at_most_s + 0.3 for r in receipts)
        goes_on(site)
        assert (await first).status == 200
        await site.idle()


async def test_a_wait_longer_than_the_gateways_timeout_is_served_all_the_same(start: Start) -> None:
    async with start(**ONE, message_timeout_s=1.0, message_timeout_s_max=6.0) as site:
        first = await blocked(site)
        waiting = asyncio.create_task(several(site))
        await asyncio.sleep(2.0)
        goes_on(site)
        answers = await waiting
        receipts = [await site.receipt(answer) for answer in answers]

        assert [a.status for a in (await first, *answers)] == [200] * 9
        assert all(r["waited_s"] > 1.0 for r in receipts)
        assert seen(site) == 9
        await site.idle()


async def test_what_cannot_wait_is_refused_at_once_and_told_when_to_come_back(start: Start) -> None:
    async with start(**ONE) as site:
        first = await blocked(site)
        answer = await site.post(chat(MODEL), **{"x-slo-ttft-ms": "500"})

        assert (answer.status, answer.json["error"]["code"]) == (429, "wait_too_long")
        assert answer.headers["retry-after"] == "2"
        assert (await site.receipt(answer))["waited_s"] < 0.5
        goes_on(site)
        assert (await first).status == 200
