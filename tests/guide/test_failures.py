"""What the guide's step 9 promises when something is missing, in the wiring it recommends."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.guide.load import one_is_killed
from tests.guide.replica import Replica
from tests.guide.site import Site, chat
from tests.guide.wiring import guide_wiring, scale_to_zero
from tests.helm.chart import needs_helm

MATH = "What is 2+2 * (5-1)?"
pytestmark = needs_helm


async def test_without_pods_of_a_model_auto_takes_the_next_and_a_name_is_not_found(tmp_path: Path) -> None:
    async with guide_wiring("w1", tmp_path) as site:
        before = await site.ask(chat("auto", MATH))
        scale_to_zero(site, "phi4-mini")
        await site.decided(site.onehops[0], 3)
        auto, named = await site.ask(chat("auto", MATH)), await site.ask(chat("phi4-mini"))
        scale_to_zero(site, "llama3-8b")
        await site.decided(site.onehops[0], 0)
        nobody = await site.ask(chat("auto", MATH))

        assert (before.status, before.headers["x-vsr-selected-model"]) == (200, "phi4-mini")
        assert (auto.status, auto.headers["x-vsr-selected-model"]) == (200, "llama3-8b")
        assert auto.headers["x-asked-model"] == "llama3-8b"
        assert (named.status, named.json["error"]["code"]) == (404, "model_not_found")
        assert (nobody.status, nobody.json["error"]["code"]) == (503, "no_endpoints")
        assert "retry-after" in nobody.headers


async def test_a_replica_that_stops_answering_costs_nothing_and_all_of_them_a_503_for_their_name(
    tmp_path: Path,
) -> None:
    async with guide_wiring("w1", tmp_path) as site:
        phi = [replica for replica in site.replicas.values() if replica.models[0] == "phi4-mini"]
        await phi[0].close()
        answers = [await site.ask(chat("phi4-mini", f"question {n}")) for n in range(9)]
        for replica in phi[1:]:
            await replica.close()
        await site.decided(site.onehops[0], 3)
        auto, named = await site.ask(chat("auto", MATH)), await site.ask(chat("phi4-mini"))

        assert [answer.status for answer in answers] == [200] * 9
        assert (auto.status, auto.headers["x-vsr-selected-model"]) == (200, "llama3-8b")
        assert named.status == 503


def of_phi(site: Site) -> list[Replica]:
    return [replica for replica in site.replicas.values() if replica.models[0] == "phi4-mini"]


@pytest.mark.parametrize("wiring", ["w1", "w2", "w3"])
async def test_what_a_replica_refuses_goes_to_another_of_the_same_model(tmp_path: Path, wiring: str) -> None:
    async with guide_wiring(wiring, tmp_path) as site:
        bad, *_ = of_phi(site)
        for turn in range(8):  # until one was sent there before its silence was noticed
            await bad.close()
            asked = [site.ask(chat("phi4-mini", f"question {turn} {n} " + str(n) * 40)) for n in range(9)]
            answers = await asyncio.gather(*asked)
            receipts = [await site.receipt(answer) for answer in answers]

            assert [(a.status, a.headers.get("x-replica", "")[:4]) for a in answers] == [(200, "phi4")] * 9
            if any(r["picked"] == bad.at and r["served"] not in (None, bad.at) for r in receipts):
                return
            await bad.start()
            await site.decided(site.onehops[0], 6)
        pytest.fail("none was retried")


async def ejected(site: Site) -> list[str]:
    """Addresses of the endpoints that get nothing."""
    pools = (await site.pools(site.onehops[0]))["pools"]
    return [one["address"] for pool in pools for one in pool["endpoints"] if one["ejected"]]


@pytest.mark.parametrize(("wiring", "told"), [("w1", 0), ("w2", 4), ("w3", 4)])
async def test_a_503_goes_to_another_of_the_same_model_where_our_filter_asks_for_it(
    tmp_path: Path, wiring: str, told: int
) -> None:
    async with guide_wiring(wiring, tmp_path) as site:
        bad, *_ = of_phi(site)
        bad.status = 503
        answers = []
        while len(bad.seen) < (told or 2) and len(answers) < 60:
            n = len(answers)
            answers.append(await site.ask(chat("phi4-mini", f"question {n} " + str(n) * 40)))
        seen = len(bad.seen)
        await site.until(lambda: ejected(site), lambda found: found == [bad.at], "the ejection")
        # At once: an ejection lasts four seconds, in which a crowded machine may answer few in a row.
        later = await asyncio.gather(*(site.ask(chat("phi4-mini", f"and now {n} " + str(n) * 40)) for n in range(30)))

        assert Counter(a.status for a in answers) == Counter({200: len(answers) - told, 503: told})
        assert {a.headers["x-replica"][:4] for a in answers if a.status == 200} == {"phi4"}
        assert seen == (told or 2)
        assert [a.status for a in later] == [200] * 30
        assert len(bad.seen) == seen, "it is ejected, though no client heard of it"


async def test_one_of_two_onehops_is_killed_under_load(tmp_path: Path) -> None:
    async with guide_wiring("w1", tmp_path, onehops=2) as site:
        await one_is_killed(site)


async def test_without_any_onehop_the_default_pool_answers(tmp_path: Path) -> None:
    async with guide_wiring("w1", tmp_path) as site:
        await site.onehops[0].kill()
        answers = [await site.ask(chat(model, MATH)) for model in ("auto", "llama3-8b") for _ in range(4)]

        assert [answer.status for answer in answers] == [200] * 8
        assert {answer.headers["x-replica"].rpartition("-")[0] for answer in answers} == {"llama3-8b"}
        assert {answer.headers["x-asked-model"] for answer in answers} == {"auto", "llama3-8b"}
