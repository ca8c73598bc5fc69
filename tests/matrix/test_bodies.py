"""Request bodies of many sizes, whole, and over the limit."""

from __future__ import annotations

import pytest

from tests.matrix.conftest import Observing
from tests.matrix.rows import Row
from tests.matrix.traffic import body_of, trickle

pytestmark = pytest.mark.asyncio(loop_scope="session")
SIZES = {Row.BODY_TINY: 0, Row.BODY_62000: 62_000, Row.BODY_62001: 62_001, Row.BODY_1M: 1 << 20, Row.BODY_5M: 5 << 20}


@pytest.mark.parametrize("row", SIZES, ids=lambda row: row.name)
async def test_a_body_arrives_whole_and_is_understood(observing: Observing, row: Row) -> None:
    body, prompt = body_of(SIZES[row])
    async with observing(row) as (site, seen):
        answer = await site.ask(body)
        if answer.status != 200:
            seen.text = str(answer.status)
            return
        replica = answer.headers["x-simulated-replica"]

        assert SIZES[row] in (0, len(body))
        assert answer.json["usage"]["prompt_tokens"] == -(-len(prompt) // 4)
        assert await site.knows(replica, prompt)
        if answer.json["model"] == "auto" and site.replica_of(answer) == "llama3-8b":
            seen.text = "not read"
        else:
            assert (answer.json["model"], site.replica_of(answer)) == ("phi4-mini", "phi4-mini")


@pytest.mark.parametrize("row", [Row.TOO_LARGE, Row.TOO_LARGE_CHUNKED], ids=lambda row: row.name)
async def test_a_body_over_the_limit_is_refused(observing: Observing, row: Row) -> None:
    body = b'{"model": "auto", "prompt": "' + b"x" * (21 << 20) + b'"}'
    async with observing(row) as (site, seen):
        answer = await site.ask(body if row is Row.TOO_LARGE else trickle(body, 100, 0))
        if answer.status != 413 or b"body_too_large" not in answer.body:
            seen.text = str(answer.status)
