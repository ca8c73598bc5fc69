"""The order of a decision's models by several factors, and which model may take a request at all."""

from __future__ import annotations

import pytest

from semantic.asked import Need
from semantic.cards import Abilities
from semantic.plan import Algorithm, Card, Limits, ModelRef
from semantic.select import Measured, may, order, unmeasured

NEEDS: list[Need] = ["tools", "vision", "json"]


def weights(**given: float) -> dict[str, float]:
    return {"quality": 0.0, "latency": 0.0, "cost": 0.0, "load": 0.0, **given}


def ordered(
    *cards: Card, loads: dict[str, Measured] | None = None, limits: Limits | None = None, **more: object
) -> list[str]:
    """The models' names, most wanted first. `more` are other fields of the algorithm."""
    algorithm = Algorithm("multi_factor", limits=limits or Limits(), **more)  # type: ignore[arg-type]  # a test's shorthand
    known = loads or {}
    found = order(
        [ModelRef(card.name) for card in cards],
        algorithm,
        {card.name: card for card in cards},
        lambda model: known.get(model, Measured()),
    )
    return [ref.model for ref in found]


def test_as_listed_unless_factors_are_asked_for() -> None:
    refs = [ModelRef("a"), ModelRef("b")]

    assert order(refs, Algorithm(), {"a": Card("a", quality=0.1), "b": Card("b", quality=0.9)}, unmeasured) == refs


def test_one_model_needs_no_factors_whatever_its_limits() -> None:
    assert ordered(Card("a", cost_per_1m=9.0), limits=Limits(cost_per_1m=1.0), on_no_candidates="fail") == ["a"]


def test_factors_are_measured_from_the_worst_to_the_best_of_these_models() -> None:
    cards = (
        Card("poor", quality=0.6, cost_per_1m=1.0),
        Card("fair", quality=0.8, cost_per_1m=3.0),
        Card("best", quality=0.9, cost_per_1m=4.0),
    )

    assert ordered(*cards, weights=weights(quality=1.0)) == ["best", "fair", "poor"]
    assert ordered(*cards, weights=weights(cost=1.0)) == ["poor", "fair", "best"]
    assert ordered(*cards, weights=weights(quality=0.6, cost=0.4)) == ["best", "fair", "poor"]
    assert ordered(*cards, weights=weights(quality=0.4, cost=0.6)) == ["poor", "fair", "best"]


def test_what_is_not_known_is_halfway() -> None:
    """Neither last for want of a number nor first."""
    cards = Card("low", quality=0.5), Card("unsaid"), Card("high", quality=0.9)

    assert ordered(*cards, weights=weights(quality=1.0)) == ["high", "unsaid", "low"]


def test_a_factor_in_which_all_are_the_same_decides_nothing() -> None:
    cards = Card("a", quality=0.9, cost_per_1m=2.0), Card("b", quality=0.9, cost_per_1m=1.0)

    assert ordered(*cards, weights=weights(quality=0.9, cost=0.1)) == ["b", "a"]


def test_equals_stay_in_the_files_order() -> None:
    assert ordered(Card("b"), Card("a"), Card("c")) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (Limits(ttft_ms=500.0), "a"),
        (Limits(cost_per_1m=2.0), "a"),
        (Limits(inflight=3.0), "a"),
        (Limits(ttft_ms=499.0, cost_per_1m=4.0), "b"),
    ],
)
def test_a_limit_may_be_reached_and_who_is_over_it_comes_last_and_once(limits: Limits, kept: str) -> None:
    """Seconds are measured, the limit is in milliseconds."""
    cards = Card("b", quality=0.9, cost_per_1m=4.0), Card("a", quality=0.1, cost_per_1m=2.0)
    loads = {"a": Measured(3.0, 0.5), "b": Measured(4.0, 0.501)}
    if kept == "b":
        loads["b"] = Measured(4.0, 0.499)
    other = "b" if kept == "a" else "a"

    assert ordered(*cards, loads=loads, limits=limits, weights=weights(quality=1.0)) == [kept, other]


def test_a_limit_is_kept_by_whom_nobody_has_measured() -> None:
    cards = Card("known"), Card("unknown")

    assert ordered(*cards, loads={"known": Measured(9.0)}, limits=Limits(inflight=1.0)) == ["unknown", "known"]


@pytest.mark.parametrize(
    ("told", "models"),
    [("cheapest", ["cheap", "dear", "unsaid"]), ("first", ["unsaid", "dear", "cheap"]), ("fail", [])],
)
def test_where_all_are_over_a_limit_the_file_says_what_then(told: str, models: list[str]) -> None:
    cards = Card("unsaid"), Card("dear", cost_per_1m=4.0), Card("cheap", cost_per_1m=1.0)
    loads = dict.fromkeys(["unsaid", "dear", "cheap"], Measured(9.0))

    assert ordered(*cards, loads=loads, limits=Limits(inflight=1.0), on_no_candidates=told) == models


@pytest.mark.parametrize(("tokens", "fits"), [(8000, True), (8001, False)])
def test_a_prompt_may_fill_the_window_of_a_model_and_no_more(tokens: int, fits: bool) -> None:
    assert may(Card("m", context_tokens=8000), Abilities(), frozenset(), tokens) is fits


def test_without_a_card_or_a_window_on_it_any_length_may_fit() -> None:
    assert may(None, Abilities(), frozenset(), 1 << 30)
    assert may(Card("m"), Abilities(), frozenset(), 1 << 30)


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize(("said", "able"), [(True, True), (None, True), (False, False)])
def test_only_a_no_excludes_and_only_from_what_is_needed(need: Need, said: bool | None, able: bool) -> None:
    can = {
        "tools": Abilities(tools=said),
        "vision": Abilities(images=said),
        "json": Abilities(json_mode=said),
    }
    others = [other for other in NEEDS if other != need]

    assert may(None, can[need], frozenset({need}), 0) is able
    assert may(None, can[need], frozenset(others), 0)
    assert may(None, can[need], frozenset(NEEDS), 0) is able
