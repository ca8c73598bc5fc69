"""Who may answer once the decision is known, in what order, and with which changes."""

import pytest

from semantic.asked import Asked
from semantic.select import Measured
from tests.semantic.fakes import LONG_S, chat
from tests.semantic.stage import chosen, edited, stage


async def test_loras_and_provider_names_are_what_servers_are_asked_for() -> None:
    router = stage()
    law = await chosen(router, "about law")
    physics = await chosen(router, "about physics")
    by_name = {candidate.model: candidate for candidate in physics.candidates}

    assert law.models == ("small-law", "big")
    assert physics.models == ("big", "eyes-7b-instruct")
    assert [(h.name, h.value) for h in by_name["eyes-7b-instruct"].headers] == [("x-selected-model", "eyes")]


async def test_reasoning_belongs_to_the_candidate_that_has_it() -> None:
    physics = await chosen(stage(), "about physics")

    assert [len(candidate.edits) for candidate in physics.candidates] == [1, 0]


IMAGE = [{"role": "user", "content": [{"type": "text", "text": "about math"}, {"type": "image_url", "image_url": {}}]}]


@pytest.mark.parametrize(
    ("body", "models"),
    [
        ({}, ("small", "big")),
        ({"tools": [{"type": "function"}]}, ("small", "big")),
        ({"messages": IMAGE}, ("small", "big", "eyes-7b-instruct")),
        ({"response_format": {"type": "json_object"}}, ("small", "big")),
    ],
)
async def test_where_no_model_of_a_decision_can_do_a_task_one_that_can_is_added(
    body: dict[str, object], models: tuple[str, ...]
) -> None:
    choice = await chosen(stage(), "about math", **body)

    assert choice.models == models
    assert {
        c.model: (c.abilities.tools, c.abilities.images) for c in choice.candidates if c.model != "eyes-7b-instruct"
    } == {
        "small": (False, False),
        "big": (True, False),
    }


@pytest.mark.parametrize(
    ("prompt_tokens", "limits", "fits"),
    [
        (99_000, {"max_tokens": 1000}, True),
        (99_000, {"max_tokens": 1001}, False),
        (99_000, {"max_completion_tokens": 1000, "max_tokens": 9999}, True),
        (99_000, {"max_output_tokens": 1001}, False),
        (100_000, {"max_tokens": -5}, True),
        (100_001, {"max_tokens": -5}, False),
        (99_744, {}, True),
        (99_745, {}, False),
        (99_800, {"max_tokens": True}, False),
        (99_800, {"max_tokens": "1"}, False),
    ],
)
async def test_where_prompt_and_answer_fit_into_no_model_of_a_decision_one_with_room_is_added(
    prompt_tokens: int, limits: dict[str, object], fits: bool
) -> None:
    """`big` reads 100,000 tokens and `eyes` 8,000; of `small` nobody says. An answer is taken for 256 tokens."""
    router = stage(edited(decisions=[{"name": "all", "modelRefs": [{"model": "big"}]}]))
    asked = Asked([("user", "about math")], model="auto", body=limits, prompt_tokens=prompt_tokens)

    assert (await router.choose(asked, LONG_S)).models == (("big",) if fits else ("big", "small"))


async def test_how_much_a_model_can_read_is_told() -> None:
    refs = [{"model": "eyes"}, {"model": "big"}]
    decisions = [{"name": "all", "modelRefs": refs}]
    asked = chat("about math")
    long = Asked(asked.turns, model="auto", body={**asked.body, "max_tokens": 2000}, prompt_tokens=7000)

    router = stage(edited(decisions=decisions))
    assert [c.context_tokens for c in (await router.choose(long, LONG_S)).candidates] == [8000, 100000]


def factored(**multi: object) -> str:
    algorithm = {"type": "multi_factor", "multi_factor": multi}
    refs = [{"model": "small"}, {"model": "big"}]
    return edited(decisions=[{"name": "all", "modelRefs": refs, "algorithm": algorithm}])


def weights(**given: float) -> dict[str, float]:
    return {"quality": 0.0, "latency": 0.0, "cost": 0.0, "load": 0.0, **given}


LOADS = {"small": Measured(9, 0.1), "big": Measured(1, 3.0)}


@pytest.mark.parametrize(
    ("multi", "first"),
    [
        ({"weights": weights(quality=1)}, "big"),
        ({"weights": weights(cost=1)}, "small"),
        ({"weights": weights(load=1)}, "big"),
        ({"weights": weights(latency=1)}, "small"),
        ({"weights": weights(quality=1), "slo": {"max_ttft_ms": 1000}}, "small"),
        ({"weights": weights(cost=1), "slo": {"max_inflight": 5}}, "big"),
        ({"weights": weights(quality=1), "slo": {"max_cost_per_1m": 5}}, "small"),
        ({"slo": {"max_inflight": 0.5}, "on_no_candidates": "cheapest"}, "small"),
        ({"slo": {"max_inflight": 0.5}, "on_no_candidates": "first"}, "small"),
    ],
)
async def test_several_factors_order_the_models(multi: dict[str, object], first: str) -> None:
    choice = await stage(factored(**multi)).choose(chat("x"), LONG_S, lambda model: LOADS[model])

    assert choice.models[0] == first


async def test_a_follow_up_stays_with_its_model_though_another_would_be_better_now() -> None:
    router = stage(factored(weights=weights(load=1)))
    turned = {"small": LOADS["big"], "big": LOADS["small"]}
    first = await router.choose(chat("x"), LONG_S, lambda model: LOADS[model])
    follow_up = await router.choose(chat("x", "and why?"), LONG_S, lambda model: turned[model])
    anew = await router.choose(chat("something else"), LONG_S, lambda model: turned[model])

    assert (first.models[0], follow_up.models[0], anew.models[0]) == ("big", "big", "small")


async def test_a_decision_may_rather_fail_than_go_over_its_limits() -> None:
    router = stage(factored(slo={"max_inflight": 0.5}, on_no_candidates="fail"))
    choice = await router.choose(chat("x"), LONG_S, lambda model: LOADS[model])

    assert (choice.refusal, choice.candidates) == ("no_candidates", ())


async def test_effort_is_lowered_only_where_the_decision_allows_it() -> None:
    allowed = stage(edited(onehop={"effort_under_load": [{"decision": "physics", "waiting_requests": 3}]}))
    (big, *_) = (await chosen(allowed, "about physics")).candidates
    (plain, *_) = (await chosen(stage(), "about physics")).candidates

    assert big.waiting_max == 3
    assert big.lowered is not None
    assert [e.value for e in big.edits] == [b'{"enable_thinking": true}']
    assert [e.value for e in big.lowered] == [b'{"enable_thinking": false}']
    assert (plain.lowered, plain.waiting_max) == (None, None)
