"""What the log says of requests: bounded however many are refused, with reasons, counts and receipts."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from epp import digest
from epp.digest import Digest
from epp.domain import Receipt
from epp.outcome import Answered
from epp.protocol.messages import Decide
from tests import make

CANARY = "canary-1199"


def receipt(n: int, outcome: str = "queue_full", status: int = 429, **more: Any) -> Receipt:
    return Receipt(f"id{n}", "r", 0.0, "/v1/chat/completions", "m", outcome=outcome, status=status, **more)


def told(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record.told for record in caplog.records if hasattr(record, "told")]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(digest, "EVERY_S", 0.1)
    return 0.1


async def test_a_storm_of_refusals_is_a_few_lines_that_say_how_many(
    caplog: pytest.LogCaptureFixture, short: float
) -> None:
    about = Digest("pool")
    for n in range(10_000):
        about.refused(receipt(n))
    await asyncio.sleep(3.5 * short)

    first, rest = told(caplog)
    assert (first["reason"], first["count"], first["receipt"], first["pool"]) == ("queue_full", 1, "id0", "pool")
    assert (rest["reason"], rest["count"], rest["receipt"]) == ("queue_full", 9999, "id9999")
    assert "9999 more requests were refused with 429" in caplog.text


async def test_after_a_quiet_time_the_next_is_the_first_again(caplog: pytest.LogCaptureFixture, short: float) -> None:
    about = Digest("pool")
    about.refused(receipt(1))
    await asyncio.sleep(2.5 * short)
    about.refused(receipt(2))

    assert [each["receipt"] for each in told(caplog)] == ["id1", "id2"]


async def test_each_reason_has_lines_of_its_own_and_a_level(caplog: pytest.LogCaptureFixture) -> None:
    about = Digest("pool")
    with caplog.at_level(logging.INFO):
        about.refused(receipt(1, "shed"))
        about.refused(receipt(2, "bad_request", 400))
        about.refused(receipt(3, "guard_jailbreak", 403))
        about.refused(receipt(4, "no_endpoints", 503))
        about.degraded(receipt(5, "open", 200))

    levels = {record.told["reason"]: record.levelname for record in caplog.records}  # type: ignore[attr-defined]
    assert levels == {
        "shed": "WARNING",
        "bad_request": "INFO",
        "guard_jailbreak": "WARNING",
        "no_endpoints": "WARNING",
        "degraded": "WARNING",
    }


async def test_a_tenant_cannot_write_lines_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    Digest("pool").refused(receipt(1, tenant="a\n2026 ERROR all is lost"))

    (line,) = told(caplog)
    assert "\n" not in line["tenant"]


async def test_the_director_tells_of_refusals_and_nothing_of_prompts(caplog: pytest.LogCaptureFixture) -> None:
    over = make.pool("a", models={"a": ["m"]})
    director = make.director(over, make.FixedChooser("m", classification="degraded"))
    with caplog.at_level(logging.DEBUG):
        refused = await director.decide(Decide(make.POST, make.chat(f"{CANARY}-model", CANARY), None))
        await director.decide(Decide(make.POST, make.chat("auto", CANARY), None))

    assert isinstance(refused, Answered)
    lines = told(caplog)
    assert (lines[0]["reason"], lines[0]["receipt"]) == ("model_not_found", refused.receipt.id)
    assert lines[1]["reason"] == "degraded"
    assert CANARY not in caplog.text + str(lines)
