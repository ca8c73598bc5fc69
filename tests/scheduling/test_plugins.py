"""What holds for every plugin, and the formula of each."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from epp.domain import Endpoint
from epp.scheduling.framework import Admitter, Filter, Picker, Plugin, Producer, Query, Scorer, Screener, Setting
from epp.scheduling.handlers import Decider, ProfileHandler
from epp.scheduling.registry import build, registered

from . import make

COUNTED = ["queue-scorer", "running-requests-size-scorer"]
SCRAPED = [*COUNTED, "kv-cache-utilization-scorer"]
LABELS: list[dict[str, str]] = [
    {},
    {"llm-d.ai/role": "decode", "zone": "a", "app": "a"},
    {"llm-d.ai/role": "prefill", "llm-d.ai/context-length-range": "0-100,5000-9000"},
    {"llm-d.ai/role": "decode", "disaggregatedset.x-k8s.io/revision": "old"},
    {"llm-d.ai/role": "decode", "disaggregatedset.x-k8s.io/revision": "new"},
    {"llm-d.ai/role": "encode", "zone": "b", "llm-d.ai/context-length-range": "what?"},
]


def fleet(seed: int, count: int = 12) -> list[Endpoint]:
    """Endpoints of every kind: fresh, stale, never sampled, partly sampled, unreachable, busy, idle."""
    rng = Random(seed)

    def maybe(value: float) -> float | None:
        return None if rng.random() < 0.2 else value

    return [
        make.endpoint(
            f"e{i}",
            waiting=maybe(rng.randrange(50)),
            running=maybe(rng.randrange(200)),
            kv_usage=maybe(rng.random()),
            age=maybe(rng.choice([0.0, 1.9, 2.1, 500.0])),
            inflight=rng.choice([0, 0, 1, rng.randrange(500)]),
            tokens=rng.choice([0, rng.randrange(10_000_000)]),
            reachable=rng.random() < 0.7,
            labels=rng.choice(LABELS),
        )
        for i in range(count)
    ]


def state(pool: Sequence[Endpoint]) -> list[Any]:
    return [tuple(copy.copy(getattr(e, name)) for name in Endpoint.__slots__) for e in pool]


def score(type_name: str, pool: Sequence[Endpoint], prompt: bytes = b"", **parameters: Any) -> list[float]:
    scorer = build(type_name, parameters)
    assert isinstance(scorer, Scorer)
    return [round(s, 4) for s in scorer.score(make.query(prompt), pool)]


NEEDED: dict[str, dict[str, Any]] = {
    "by-label": {"label": "app", "validValues": ["a"]},
    "endpoint-attribute-filter": {"attributeKey": "heat", "threshold": 50, "fallbackOnEmpty": True},
    "endpoint-attribute-scorer": {"attributeKey": "heat"},
    "file-discovery": {"path": "endpoints.yaml"},
    "header-label-affinity-scorer": {"headerName": "x-zone", "labelKey": "zone"},
    "priority-holdback-policy": {"minCeiling": 0.5},
    "request-attribute-reporter": {"attributes": [{"key": {"name": "cost"}, "expression": "usage.total_tokens"}]},
    "utilization-filter": {"conditions": [{"type": "waiting-queue", "maxValue": 10}]},
}


def of_kind(*kinds: type[Plugin]) -> Any:
    """Every plugin of these kinds, under twenty seeds."""
    names = [name for name, cls in registered().items() if issubclass(cls, kinds)]

    def both(function: Any) -> Any:
        seeds = pytest.mark.parametrize("seed", range(20))
        return pytest.mark.parametrize("type_name", names)(seeds(function))

    return both


def asked(seed: int) -> Query:
    """The same decision each time it is asked for."""
    headers = {"x-zone": "a", "x-session-token": "ZTA=", "test-epp-endpoint-selection": "e1,e2"}
    return make.query(Random(seed).randbytes(3000), seed=seed, headers=headers if seed % 2 else {})


def two(type_name: str) -> tuple[Any, Any]:
    return build(type_name, NEEDED.get(type_name)), build(type_name, NEEDED.get(type_name))


def test_every_plugin_that_acts_is_of_a_kind_that_has_a_contract() -> None:
    kinds = (Filter, Scorer, Picker, Producer, Screener, Admitter, ProfileHandler, Decider, Setting)
    others = {name for name, cls in registered().items() if not issubclass(cls, kinds)}

    assert others == {"destination-endpoint-served-verifier", "request-attribute-reporter"}


@of_kind(Filter, Screener)
def test_who_leaves_endpoints_out_keeps_the_others_in_order_and_changes_none(type_name: str, seed: int) -> None:
    pool = fleet(seed, count=1 + seed % 12)
    keep, again = (each.keep if isinstance(each, Filter) else each.screen for each in two(type_name))
    before = state(pool)
    kept = keep(asked(seed), pool)

    assert kept == [e for e in pool if e in kept]
    assert kept == again(asked(seed), pool)
    assert kept is not pool
    assert state(pool) == before


@of_kind(Scorer)
def test_a_scorer_rates_every_endpoint_from_0_to_1_and_changes_none(type_name: str, seed: int) -> None:
    pool = fleet(seed, count=1 + seed % 12)
    before, (scorer, again) = state(pool), two(type_name)
    for _ in range(3):
        query = asked(seed)
        scores = scorer.score(query, pool)

        assert len(scores) == len(pool)
        assert all(0.0 <= s <= 1.0 for s in scores)
        assert list(scores) == list(scorer.score(query, pool)) == list(again.score(query, pool))
        scorer.picked(query, pool[0])
        again.picked(query, pool[0])
    scorer.relisted([])
    assert state(pool) == before


@of_kind(Producer)
def test_a_producer_says_the_same_twice_and_changes_no_endpoint(type_name: str, seed: int) -> None:
    pool = fleet(seed, count=1 + seed % 12)
    before, (producer, again) = state(pool), two(type_name)
    for _ in range(3):
        query, same = asked(seed), asked(seed)
        producer.produce(query, pool)
        again.produce(same, pool)

        assert (query.cached, query.hashed, query.session) == (same.cached, same.hashed, same.session)
        assert all(0 < tokens <= query.hashed for tokens in query.cached.values())
        producer.picked(query, pool[0])
        again.picked(same, pool[0])
        assert query.cost == same.cost
    producer.relisted([])
    assert state(pool) == before


@of_kind(Admitter)
def test_an_admitter_lets_ordinary_requests_pass_and_changes_no_endpoint(type_name: str, seed: int) -> None:
    pool = fleet(seed)
    before, (admitter, _) = state(pool), two(type_name)

    admitter.admit(asked(seed), pool)
    assert state(pool) == before


@of_kind(Picker)
def test_a_picker_takes_one_and_then_others(type_name: str, seed: int) -> None:
    pool = fleet(seed, count=1 + seed % 12)
    rng, picker, again = Random(seed), *(build(type_name, {"maxNumOfEndpoints": 3}) for _ in range(2))
    assert isinstance(picker, Picker)
    assert isinstance(again, Picker)
    totals = [rng.random() for _ in pool]
    query, same = asked(seed), asked(seed)
    place = picker.pick(query, totals)
    further = picker.further(query, totals, place)

    assert place in range(len(pool))
    assert len({place, *further}) == min(3, len(pool)) == 1 + len(further)
    assert (place, further) == (again.pick(same, totals), again.further(same, totals, place))


def test_unreachable_endpoints_are_left_out() -> None:
    pool = [make.endpoint("a", reachable=False), make.endpoint("b")]
    step = build("reachable-filter")
    assert isinstance(step, Filter)

    assert step.keep(make.query(), pool) == [pool[1]]


def test_when_none_is_reachable_all_may_be_tried() -> None:
    pool = [make.endpoint("a", reachable=False), make.endpoint("b", reachable=False)]
    step = build("reachable-filter")
    assert isinstance(step, Filter)

    assert step.keep(make.query(), pool) == pool


@pytest.mark.parametrize("type_name", COUNTED)
def test_counts_are_scored_between_the_least_and_the_most(type_name: str) -> None:
    pool = [make.endpoint(waiting=count, running=count) for count in (2, 7, 12)]

    assert score(type_name, pool) == [1.0, 0.5, 0.0]


@pytest.mark.parametrize("type_name", COUNTED)
def test_equal_counts_score_one(type_name: str) -> None:
    pool = [make.endpoint(waiting=7, running=7) for _ in range(3)]

    assert score(type_name, pool) == [1.0, 1.0, 1.0]


def test_kv_cache_is_scored_by_what_is_free() -> None:
    pool = [make.endpoint(kv_usage=usage) for usage in (0.0, 0.3, 1.0)]

    assert score("kv-cache-utilization-scorer", pool) == [1.0, 0.7, 0.0]


@pytest.mark.parametrize("type_name", SCRAPED)
def test_a_silent_endpoint_is_neither_full_nor_idle(type_name: str) -> None:
    idle = make.endpoint(waiting=0, running=0, kv_usage=0)
    full, late = (make.endpoint(waiting=8, running=8, kv_usage=1, age=age) for age in (0.0, 2.5))
    unknown, without_series = make.endpoint(age=None), make.endpoint(age=0.0)

    scores = score(type_name, [idle, full, late, unknown, without_series])

    assert scores == [1.0, 0.0, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("type_name", SCRAPED)
def test_when_all_are_silent_all_score_the_same(type_name: str) -> None:
    pool = [make.endpoint(waiting=i, running=i, kv_usage=i / 9, age=60.0) for i in range(9)]

    assert len(set(score(type_name, pool))) == 1


@pytest.mark.parametrize("type_name", SCRAPED)
def test_how_old_a_sample_may_be_is_a_parameter(type_name: str) -> None:
    pool = [make.endpoint(waiting=i, running=i, kv_usage=i / 2, age=5.0) for i in range(3)]

    assert score(type_name, pool, staleAfterSeconds=10) == [1.0, 0.5, 0.0]


def test_requests_in_flight_follow_the_reference_formula() -> None:
    pool = [make.endpoint(inflight=c) for c in (0, 1, 5, 10)]

    assert score("active-request-scorer", pool) == [1.0, 0.9, 0.5, 0.0]
    assert score("active-request-scorer", pool, idleThreshold=1) == [1.0, 1.0, 0.5, 0.0]
    assert score("active-request-scorer", pool, maxBusyScore=0.5) == [1.0, 0.45, 0.25, 0.0]


def test_softness_shrinks_the_difference_of_few_requests() -> None:
    pool = [make.endpoint(inflight=c) for c in (0, 1)]

    assert score("active-request-scorer", pool) == [1.0, 0.0]
    assert score("active-request-scorer", pool, softness=19) == [1.0, 0.95]


def test_tokens_in_flight_count_with_the_prompts_own() -> None:
    pool = [make.endpoint(tokens=t) for t in (0, 400, 900, 5000)]

    assert score("token-load-scorer", pool, b"a" * 400, queueThresholdTokens=1000) == [0.9, 0.5, 0.0, 0.0]


def test_running_requests_ignore_the_ledger() -> None:
    pool = [make.endpoint(running=0, inflight=9), make.endpoint(running=3)]

    assert score("running-requests-size-scorer", pool) == [1.0, 0.0]


def sent(producer: Producer, prompt: bytes, endpoint: Endpoint, pool: Sequence[Endpoint]) -> None:
    asked = make.query(prompt)
    producer.produce(asked, pool)
    producer.picked(asked, endpoint)


def prefix_scores(producer: Producer, prompt: bytes, pool: Sequence[Endpoint], model: str = "m") -> list[float]:
    asked, scorer = make.query(prompt, model=model), build("prefix-cache-scorer")
    assert isinstance(scorer, Scorer)
    producer.produce(asked, pool)
    return list(scorer.score(asked, pool))


def test_a_prefix_scores_by_the_share_of_it_that_was_sent_there() -> None:
    pool, rng = make.endpoints(3), Random(1)
    producer = build("approx-prefix-cache-producer")
    assert isinstance(producer, Producer)
    start, rest = rng.randbytes(1024), rng.randbytes(3072)
    sent(producer, start, pool[0], pool)
    sent(producer, start + rest, pool[1], pool)

    assert prefix_scores(producer, start + rest, pool) == [0.25, 1.0, 0.0]
    assert prefix_scores(producer, start + rest, pool, model="other") == [0.0, 0.0, 0.0]


def test_an_endpoint_that_left_is_forgotten() -> None:
    pool = make.endpoints(2)
    producer = build("approx-prefix-cache-producer")
    assert isinstance(producer, Producer)
    sent(producer, b"a" * 1024, pool[0], pool)

    producer.relisted(pool[1:])

    assert prefix_scores(producer, b"a" * 1024, pool) == [0.0, 0.0]


def test_the_best_wins_and_equals_share() -> None:
    picker = build("max-score-picker")
    assert isinstance(picker, Picker)
    rng = Random(7)

    drawn = Counter(picker.pick(make.query(rng=rng), [0.1, 2.0, 2.0, 1.9, 2.0]) for _ in range(3000))

    assert set(drawn) == {1, 2, 4}
    assert min(drawn.values()) > 900, drawn


def test_random_means_any() -> None:
    picker = build("random-picker")
    assert isinstance(picker, Picker)
    rng = Random(7)

    drawn = Counter(picker.pick(make.query(rng=rng), [0.0, 9.0, 1.0]) for _ in range(3000))

    assert min(drawn.values()) > 900, drawn


def test_weighted_random_draws_in_proportion_and_zeros_last() -> None:
    picker = build("weighted-random-picker")
    assert isinstance(picker, Picker)
    rng = Random(7)

    drawn = Counter(picker.pick(make.query(rng=rng), [1.0, 0.0, 3.0]) for _ in range(4000))

    assert drawn[1] == 0
    assert drawn[2] == pytest.approx(3000, abs=120)


def test_weighted_random_among_zeros_is_random() -> None:
    picker = build("weighted-random-picker")
    assert isinstance(picker, Picker)
    rng = Random(7)

    assert {picker.pick(make.query(rng=rng), [0.0, 0.0]) for _ in range(50)} == {0, 1}
