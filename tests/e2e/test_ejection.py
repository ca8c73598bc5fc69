"""An endpoint that fails real requests gets none for a while, through a real Envoy, and comes back."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from benchmarks.simulator.server import DROPPED
from tests.e2e.client import Answer, Site, chat
from tests.e2e.conftest import Start

BAD = "llama3-8b-1"


async def rounds(site: Site, count: int, after: int = 0) -> list[Answer]:
    """One request after the other, each of its own kind, so that no cache binds them to a replica."""
    numbers = range(after, after + count)
    return [await site.post(chat("llama3-8b", f"question {n} " + str(n) * 40)) for n in numbers]


async def in_ejection(site: Site) -> str | None:
    """Why the bad one is left out, if it is."""
    down = site.stack.fleet[BAD]
    found = [e for e in await site.endpoints() if e["address"] == f"{down.address}:{down.port}"]
    why: str | None = found[0]["ejected"]
    return why


WORDS = "the gateway had to send its requests elsewhere"


@pytest.mark.parametrize("wiring", ["buffered", "duplex"])
@pytest.mark.parametrize("trouble", [503, DROPPED])
async def test_what_a_replica_fails_another_answers_and_it_gets_nothing_more_until_it_is_well(
    start: Start, wiring: str, trouble: int
) -> None:
    async with start(wiring=wiring) as site:
        bad = site.stack.fleet[BAD]
        bad.trouble = trouble
        first: list[Answer] = []
        while (why := await in_ejection(site)) is None and len(first) < 40:
            first += await rounds(site, 1, after=len(first))
            await site.idle()  # what became of it is counted
        seen = bad.requests_seen
        # At once: an ejection lasts four seconds at least, in which a crowded machine may answer few in a row.
        asked = (site.post(chat("llama3-8b", f"and now {n} " + str(n) * 40)) for n in range(40))
        later = await asyncio.gather(*asked)
        in_between = bad.requests_seen - seen
        async with site.http.get(f"http://127.0.0.1:{site.stack.metrics_port}/metrics") as answer:
            metrics = await answer.text()
        address = f"{bad.address}:{bad.port}"
        receipts = [await site.receipt(answer) for answer in first]
        saved = [receipt for receipt in receipts if receipt["picked"] == address]
        excluded = {
            row["name"]: row["reason"] for row in (await site.receipt(later[0]))["endpoints"] if row["excluded"]
        }
        bad.trouble = None
        await site.until(lambda: in_ejection(site), lambda found: found is None)
        await asyncio.gather(*(site.post(chat("llama3-8b", f"again {n} " + str(n) * 40)) for n in range(30)))
        served = bad.requests_seen - seen - in_between

        assert [a.status for a in first] == [200] * len(first), "no client is to see what another replica can mend"
        assert seen == len(saved) == 2
        assert all(receipt["served"] not in (None, address) for receipt in saved)
        assert why is not None
        assert why.startswith(WORDS)
        assert [a.status for a in later] == [200] * 40
        assert in_between == 0
        assert excluded == {f"default/{BAD}": f"health-filter: ejected, {WORDS}"}
        assert f'onehop_endpoint_ejected{{model_server_endpoint="{address}",name="default"}} 1.0' in metrics
        assert 'onehop_ejection_total{reason="retried"} 1.0' in metrics
        assert served >= 1
        await site.idle()


@pytest.mark.parametrize("wiring", ["buffered", "duplex"])
async def test_where_all_replicas_answer_503_three_are_asked_and_the_client_is_told(start: Start, wiring: str) -> None:
    async with start(wiring=wiring, serve_flags=["--classify-deadline=5s", "--fallback-endpoints=2"]) as site:
        all_three = [site.stack.fleet[f"llama3-8b-{n}"] for n in range(3)]
        for replica in all_three:
            replica.trouble = 503
        (answer,) = await rounds(site, 1)
        await site.idle()
        receipt = await site.receipt(answer)
        asked = {f"{replica.address}:{replica.port}" for replica in all_three}
        failures = [e["health"]["recent_failures"] for e in await site.endpoints() if e["address"] in asked]

        assert answer.status == 503
        assert [replica.requests_seen for replica in all_three] == [1, 1, 1]
        assert (receipt["status"], receipt["fault"]) == (503, "unavailable")
        assert [round(failed) for failed in failures] == [1, 1, 1]


async def test_the_gateway_goes_through_the_list_and_all_before_the_one_that_served_have_failed(start: Start) -> None:
    async with start(serve_flags=["--classify-deadline=5s", "--fallback-endpoints=2"]) as site:
        for number in (1, 2):
            site.stack.fleet[f"llama3-8b-{number}"].trouble = 503
        answers = await rounds(site, 12)
        await site.idle()
        ejections = {e["name"].split("/")[1]: e["health"]["ejections"] for e in await site.endpoints()}

        assert [a.status for a in answers] == [200] * 12
        assert ejections["llama3-8b-0"] == 0
        assert max(ejections[f"llama3-8b-{number}"] for number in (1, 2)) > 0


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
