"""What dies, and what the client sees."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from epp.cli.stack import end
from tests.e2e.client import chat
from tests.e2e.conftest import Start

UNCLEAR = "Which of the two came first, and what followed from it?"  # words alone do not tell: the encoder is asked


@pytest.mark.parametrize("wiring", ["buffered", "duplex"])
async def test_a_dead_replica_costs_no_request(start: Start, wiring: str) -> None:
    async with start(wiring=wiring) as site:
        await site.stack.fleet.kill("llama3-8b-1")
        answers = [await site.post(chat("llama3-8b", f"question {n}")) for n in range(12)]

        down = site.stack.fleet["llama3-8b-1"]
        rows = await site.until(site.endpoints, lambda found: not all(e["reachable"] for e in found))
        await site.stack.fleet.start("llama3-8b-1")
        await site.until(site.endpoints, lambda found: all(e["reachable"] for e in found))
        assert [a.status for a in answers] == [200] * 12
        assert [e["address"] for e in rows if not e["reachable"]] == [f"{down.address}:{down.port}"]
        await site.idle()


async def test_a_replica_that_dies_while_it_answers_ends_the_answer_and_the_lease(start: Start) -> None:
    async with start() as site:
        url = f"{site.stack.url}/v1/chat/completions"
        answer = await site.http.post(url, json=chat("phi4-mini", stream=True, max_tokens=4000, ignore_eos=True))
        await answer.content.readline()
        await site.stack.fleet.kill(answer.headers["x-simulated-replica"])
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
        await site.idle()


async def test_when_all_replicas_of_a_model_are_down_auto_takes_the_next_candidate(start: Start) -> None:
    async with start() as site:
        for number in range(3):
            await site.stack.fleet.kill(f"phi4-mini-{number}")
        await site.until(site.endpoints, lambda found: sum(e["reachable"] for e in found) == 3)
        answer = await site.post(chat("auto", "What is 2+2 * (5-1)?"))

        assert (answer.status, site.replica_of(answer)) == (200, "llama3-8b")
        assert answer.headers["x-vsr-selected-model"] == "llama3-8b"


@pytest.mark.parametrize("wiring", ["buffered", "duplex"])
async def test_without_onehop_and_failing_open_the_default_pool_answers(start: Start, wiring: str) -> None:
    async with start(wiring=wiring, failure_mode_allow=True) as site:
        assert site.stack.onehop is not None
        site.stack.onehop.kill()
        if wiring == "duplex":  # where Envoy fails open only once its health check has noticed
            await site.until(lambda: site.post(chat("auto")), lambda answer: answer.status == 200)
        answers = [await site.post(chat(model)) for model in ("auto", "llama3-8b") for _ in range(3)]
        await end(site.stack.onehop)
        site.stack.start_onehop()
        await site.stack.onehop_ready(site.http)
        back = await site.until(  # Envoy's workers hear of its health check a little later than its main thread
            lambda: site.post(chat("auto", "What is 2+2 * (5-1)?")), lambda a: "x-vsr-selected-model" in a.headers
        )

        assert [a.status for a in answers] == [200] * 6
        assert {site.replica_of(a) for a in answers} == {"llama3-8b"}
        assert all("x-vsr-selected-model" not in a.headers for a in answers)
        assert site.replica_of(back) == "phi4-mini"


@pytest.mark.parametrize("wiring", ["buffered", "duplex"])
async def test_without_onehop_and_failing_closed_every_request_gets_a_500(start: Start, wiring: str) -> None:
    async with start(wiring=wiring, failure_mode_allow=False) as site:
        assert site.stack.onehop is not None
        site.stack.onehop.kill()
        answers = await asyncio.gather(*(site.post(chat(model)) for model in ("auto", "llama3-8b") for _ in range(3)))

        assert {a.status for a in answers} <= {500, 503, 504}
        assert answers[-1].status == 500


async def test_onehop_killed_while_an_answer_streams_in_the_one_hop_wiring_loses_no_answer(start: Start) -> None:
    async with start(failure_mode_allow=True) as site:
        assert site.stack.onehop is not None
        url = f"{site.stack.url}/v1/chat/completions"
        async with site.http.post(url, json=chat("phi4-mini", stream=True, max_tokens=300, ignore_eos=True)) as answer:
            await answer.content.readline()
            site.stack.onehop.kill()
            rest = await answer.read()

        assert b"data: [DONE]" in rest


async def test_what_the_classifier_did_is_shown_to_operators(start: Start) -> None:
    async with start() as site:
        for _ in range(3):
            await site.post(chat("auto", UNCLEAR))
        async with site.http.get(f"{site.stack.admin_url}/debug/pools") as answer:
            counts = (await answer.json())["conditions"]["classifier"]

    assert (counts["answered"], counts["cached"], counts["late"]) == (1, 2, 0)


async def test_a_gateway_that_pings_often_while_nothing_is_said_keeps_its_streams(start: Start) -> None:
    async with start(keepalive_s=0.2, time_factor=1.0) as site:
        answer = await site.post(chat("phi4-mini", stream=True, max_tokens=600, ignore_eos=True))
        receipt = await site.receipt(answer)
        await site.idle()

        assert b"data: [DONE]" in answer.body
        assert (await site.receipt(answer))["outcome"] == "completed"
        assert receipt["ended_s"] is None or receipt["ended_s"] >= receipt["ttft_s"]
        assert "too_many_pings" not in (site.stack.plan.folder / "onehop.log").read_text()


async def test_past_its_deadline_the_semantic_stage_gives_way_to_the_default_model_and_says_so(start: Start) -> None:
    async with start(serve_flags=["--classify-deadline=1us"]) as site:
        answer = await site.post(chat("auto", UNCLEAR))

        assert (answer.status, site.replica_of(answer)) == (200, "llama3-8b")
        assert answer.headers["x-onehop-classification"] == "degraded"
        assert "x-vsr-selected-category" not in answer.headers


async def test_a_sigterm_lets_open_streams_finish(start: Start) -> None:
    async with start(serve_flags=["--drain-timeout=30s", "--classify-deadline=5s"]) as site:
        assert site.stack.onehop is not None
        url = f"{site.stack.url}/v1/chat/completions"
        async with site.http.post(url, json=chat("phi4-mini", stream=True, max_tokens=300, ignore_eos=True)) as answer:
            await answer.content.readline()
            site.stack.onehop.terminate()
            rest = await answer.read()
        code = await asyncio.to_thread(site.stack.onehop.wait, 20)

        assert b"data: [DONE]" in rest
        assert code == 0


@pytest.mark.parametrize(("wiring", "eager"), [("streamed", False), ("streamed", True)])
async def test_streamed_mode_routes_and_rewrites(start: Start, wiring: str, eager: bool) -> None:
    async with start(wiring=wiring, eager=eager) as site:
        math = await site.post(chat("auto", "What is 2+2 * (5-1)?"))
        named = await site.post(chat("phi4-mini", "x" * 100_000))

        assert (math.status, site.replica_of(math)) == (200, "phi4-mini")
        assert (named.status, site.replica_of(named)) == (200, "phi4-mini")


async def test_headers_only_mode_picks_in_the_default_pool(start: Start) -> None:
    async with start(wiring="headers") as site:
        answers = [await site.post(chat("llama3-8b", f"question {n}")) for n in range(6)]

        assert [a.status for a in answers] == [200] * 6
        await site.idle()


async def test_a_changed_discovery_file_is_followed_and_a_bad_one_is_not(start: Start) -> None:
    async with start() as site:
        path = site.stack.write_discovery()
        good = json.loads(path.read_text())
        path.write_text('{"endpoints": [{"name": "x"}]}')

        async def conditions() -> Any:
            async with site.http.get(f"{site.stack.admin_url}/debug/pools") as answer:
                return (await answer.json())["conditions"]["discovery"]

        why = await site.until(conditions, lambda found: found is not None)
        kept = len(await site.endpoints())
        fewer = [row for row in good["endpoints"] if row["name"] != "phi4-mini-2"]
        path.write_text(json.dumps({"endpoints": fewer}))
        await site.until(site.endpoints, lambda found: len(found) == 5)
        answers = [await site.post(chat("phi4-mini", f"question {n}")) for n in range(8)]

        assert "endpoints[0].address" in why
        assert kept == 6
        assert {a.headers["x-simulated-replica"] for a in answers} == {"phi4-mini-0", "phi4-mini-1"}
