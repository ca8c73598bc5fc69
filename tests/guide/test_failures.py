"""What the guide's step 9 promises when something is missing, in the wiring it recommends."""

from __future__ import annotations

from pathlib import Path

from tests.guide.load import one_is_killed
from tests.guide.site import chat
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
