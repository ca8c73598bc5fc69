"""What OneHop learns from answers on their way through a real Envoy, and what it may change in them."""

from __future__ import annotations

import pytest

from tests.e2e.client import Answer, Site, chat
from tests.e2e.conftest import Start

FLAGS = ["--classify-deadline=5s"]
MATH = "What is 2+2 * (5-1)?"


async def told(site: Site, answer: Answer) -> dict[str, int] | None:
    await site.idle()
    usage: dict[str, int] | None = (await site.receipt(answer))["usage"]
    return usage


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wiring", ["buffered", "duplex"])
async def test_token_counts_are_read_where_the_answer_is_seen(start: Start, wiring: str, stream: bool) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    async with start(wiring=wiring, serve_flags=[*FLAGS, "--usage-sample-every=1"]) as site:
        answer = await site.post(chat("llama3-8b", "hello", ignore_eos=True, max_tokens=20, **options))
        usage = await told(site, answer)

    assert answer.status == 200
    assert b"[DONE]" in answer.body or not stream
    assert usage is not None
    assert usage["completion"] == 20
    assert usage["prompt"] > 0


async def test_nothing_is_read_in_the_buffered_wiring_unless_asked_for(start: Start) -> None:
    async with start() as site:
        answer = await site.post(chat("llama3-8b"))

        assert await told(site, answer) is None


@pytest.mark.parametrize("stream", [False, True])
async def test_the_name_the_client_asked_for_comes_back_where_that_is_wanted(start: Start, stream: bool) -> None:
    async with start(wiring="duplex", serve_flags=[*FLAGS, "--restore-model"]) as site:
        answer = await site.post(chat("auto", MATH, stream=stream, ignore_eos=True, max_tokens=30))

    assert answer.status == 200
    assert answer.headers["x-vsr-selected-model"] == "phi4-mini"
    assert b'"model": "auto"' in answer.body or b'"model":"auto"' in answer.body
    assert b'"model": "phi4-mini"' not in answer.body
    assert b'"model":"phi4-mini"' not in answer.body
    assert answer.body.rstrip().endswith(b"[DONE]" if stream else b"}")
