"""An endpoint that fails real requests gets none for a while, through a real Envoy, and comes back."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from benchmarks.simulator.server import DROPPED
from tests.e2e.client import Answer, Site, chat
from tests.e2e.conftest import Start

BAD = "llama3-8b-1"


async def rounds(site: Site, count: int) -> list[Answer]:
    """One request after the other, each of its own kind, so that no cache binds them to a replica."""
    return [await site.post(chat("llama3-8b", f"question {n} " + str(n) * 40)) for n in range(count)]


async def in_ejection(site: Site) -> str | None:
    """Why the bad one is left out, if it is."""
    down = site.stack.fleet[BAD]
    found = [e for e in await site.endpoints() if e["address"] == f"{down.address}:{down.port}"]
    why: str | None = found[0]["ejected"]
    return why


@pytest.mark.parametrize("wiring", ["buffered", "duplex"])
async def test_a_replica_that_answers_503_gets_a_few_requests_and_then_none_until_it_is_well(
    start: Start, wiring: str
) -> None:
    async with start(wiring=wiring) as site:
        bad = site.stack.fleet[BAD]
        bad.trouble = 503
        first = await rounds(site, 40)
        seen = bad.requests_seen
        why = await in_ejection(site)
        later = await rounds(site, 20)
        in_between = bad.requests_seen - seen
        failed = next(answer for answer in first if answer.status == 503)
        receipt = await site.receipt(failed)
        excluded = {
            row["name"]: row["reason"] for row in (await site.receipt(later[0]))["endpoints"] if row["excluded"]
        }
        async with site.http.get(f"http://127.0.0.1:{site.stack.metrics_port}/metrics") as answer:
            metrics = await answer.text()
        bad.trouble = None
        await site.until(lambda: in_ejection(site), lambda found: found is None)
        await asyncio.gather(*(site.post(chat("llama3-8b", f"again {n} " + str(n) * 40)) for n in range(30)))
        served = bad.requests_seen - seen - in_between

        assert Counter(a.status for a in first) == {503: 4, 200: 36}
        assert why is not None
        assert why.startswith("it answers 502, 503 or 504")
        assert [a.status for a in later] == [200] * 20
        assert in_between == 0
        assert receipt["fault"] == "unavailable"
        assert excluded == {f"default/{BAD}": "health-filter: ejected, it answers 502, 503 or 504"}
        address = f"{bad.address}:{bad.port}"
        assert f'onehop_endpoint_ejected{{model_server_endpoint="{address}",name="default"}} 1.0' in metrics
        assert 'onehop_ejection_total{reason="unavailable"} 1.0' in metrics
        assert served >= 1
        await site.idle()


@pytest.mark.parametrize("wiring", ["buffered", "duplex"])
async def test_a_replica_that_drops_connections_is_left_out_after_two_requests(start: Start, wiring: str) -> None:
    async with start(wiring=wiring) as site:
        bad = site.stack.fleet[BAD]
        bad.trouble = DROPPED
        answers = await rounds(site, 30)
        why = await in_ejection(site)
        seen = bad.requests_seen
        later = await rounds(site, 10)

        assert Counter(a.status for a in answers)[503] <= 2
        assert why is not None
        assert why.startswith("it refuses or drops connections")
        assert [a.status for a in later] == [200] * 10
        assert bad.requests_seen == seen <= 4
        assert all(e["reachable"] for e in await site.endpoints())


async def test_bad_requests_and_clients_that_leave_eject_nobody(start: Start) -> None:
    async with start(time_factor=1.0) as site:
        statuses = [
            (await site.post(chat("phi4-mini", f"{status} {n}"), **{"x-simulate-status": str(status)})).status
            for status in (400, 404, 429)
            for n in range(10)
        ]
        url = f"{site.stack.url}/v1/chat/completions"
        for n in range(10):
            body = chat("phi4-mini", f"leaving {n}", stream=True, max_tokens=4000, ignore_eos=True)
            async with site.http.post(url, json=body) as answer:
                await answer.content.readline()
                answer.close()
        await site.idle()

        assert Counter(statuses) == {400: 10, 404: 10, 429: 10}
        assert [e["health"]["ejections"] for e in await site.endpoints()] == [0] * 6
        assert [e["health"]["recent_failures"] for e in await site.endpoints()] == [0] * 6


async def test_when_every_replica_of_a_model_fails_auto_takes_the_next_candidate(start: Start) -> None:
    async with start() as site:
        for number in range(3):
            site.stack.fleet[f"phi4-mini-{number}"].trouble = DROPPED
        answers = [await site.post(chat("auto", f"What is {n}+2 * (5-1)?")) for n in range(20)]

        assert [(a.status, site.replica_of(a)) for a in answers[-8:]] == [(200, "llama3-8b")] * 8
