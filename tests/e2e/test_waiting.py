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
# About 2.6 and 8 s of prefill, by what is reckoned with as long as nothing is learned; while more than 0.8 s of it are
# to be done, nobody else has room.
SOME, MUCH = "word " * 40_000, "word " * 80_000
ONE: dict[str, Any] = {"models": {MODEL: (MODEL,)}, "replicas": 1, "semantic_config": None, "failure_mode_allow": True}


async def blocked(site: Site, prompt: str) -> asyncio.Task[Answer]:
    """The only replica is busy for many seconds with a long prompt, unless it goes on at its own pace."""
    site.stack.fleet[f"{MODEL}-0"].slowdown = 200.0  # about two seconds a step
    first = asyncio.create_task(site.post(chat(MODEL, prompt)))
    await site.until(lambda: asyncio.sleep(0, seen(site)), lambda count: count == 1)
    return first


async def several(site: Site, slo_s: float, count: int = 8) -> list[Answer]:
    slo = {"x-llm-d-slo-ttft-ms": str(round(slo_s * 1000))}
    return await asyncio.gather(*(site.post(chat(MODEL, f"question {n}"), **slo) for n in range(count)))


def seen(site: Site) -> int:
    return site.stack.fleet[f"{MODEL}-0"].requests_seen


def goes_on(site: Site) -> None:
    site.stack.fleet[f"{MODEL}-0"].slowdown = 1.0


@pytest.mark.parametrize(
    ("message_s_max", "wiring", "waited_s"),
    [(4.0, "buffered", 3.2), (0.0, "buffered", 0.8), (0.0, "duplex", 2.0)],
    ids=["extended", "not extended", "no timeout in full duplex"],
)
async def test_no_wait_is_ended_by_the_gateway(
    start: Start, message_s_max: float, wiring: str, waited_s: float
) -> None:
    timeouts = {"message_timeout_s": 1.0, "message_timeout_s_max": message_s_max}
    flags = ["--queue-timeout=2s"] if wiring == "duplex" else []
    async with start(**ONE, **timeouts, wiring=wiring, serve_flags=flags) as site:
        first = await blocked(site, MUCH)
        answers = await several(site, slo_s=9.0)
        receipts = [await site.receipt(answer) for answer in answers]

        assert [a.status for a in answers] == [429] * len(answers)
        assert {a.json["error"]["code"] for a in answers} == {"queue_timeout"}
        assert {a.headers["x-llm-d-request-dropped-reason"] for a in answers} == {"rejected-ttl-expired"}
        assert all(int(a.headers["retry-after"]) >= 1 for a in answers)
        assert all(waited_s - 0.1 <= r["waited_s"] <= waited_s + 0.2 for r in receipts)
        assert seen(site) == 1
        goes_on(site)
        assert (await first).status == 200
        await site.idle()


async def test_a_wait_longer_than_the_gateways_timeout_is_served_all_the_same(start: Start) -> None:
    async with start(**ONE, message_timeout_s=1.0, message_timeout_s_max=6.0) as site:
        first = await blocked(site, SOME)
        waiting = asyncio.create_task(several(site, slo_s=5.0))
        await site.until(lambda: asyncio.sleep(0, seen(site)), lambda count: count > 1)
        goes_on(site)
        answers = await waiting
        receipts = [await site.receipt(answer) for answer in answers]

        assert [a.status for a in answers] == [200] * len(answers)
        assert all(r["waited_s"] > 1.0 for r in receipts)
        assert (await first).status == 200
        assert seen(site) == 1 + len(answers)
        await site.idle()


async def test_what_cannot_wait_is_refused_at_once_and_told_when_to_come_back(start: Start) -> None:
    async with start(**ONE) as site:
        first = await blocked(site, SOME)
        answer = await site.post(chat(MODEL), **{"x-slo-ttft-ms": "500"})

        assert (answer.status, answer.json["error"]["code"]) == (429, "wait_too_long")
        assert answer.headers["retry-after"] in ("2", "3")
        assert (await site.receipt(answer))["waited_s"] < 0.5
        goes_on(site)
        assert (await first).status == 200
