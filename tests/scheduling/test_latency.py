"""Choices by predicted seconds against what a request asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from epp.domain import Cost, Endpoint, Refused
from epp.scheduling.framework import Admitter, Filter, Foreseen, Query, Scorer
from epp.scheduling.plugins.predicted_latency import PredictedLatencyProducer
from epp.scheduling.registry import build
from epp.scheduling.slo import Slo, slo_of

from . import make
from .test_assembly import assembled

TTFT, TPOT = "x-llm-d-slo-ttft-ms", "x-llm-d-slo-tpot-ms"


def asked(
    foreseen: Sequence[Foreseen], rng: Random | None = None, priority: int = 0, **slo: str
) -> tuple[Query, list[Endpoint]]:
    """A request with these headers, and the endpoints for which this is foreseen."""
    headers = {{"ttft": TTFT, "tpot": TPOT}[name]: value for name, value in slo.items()}
    query, pool = make.query(headers=headers, rng=rng, priority=priority), make.endpoints(len(foreseen))
    query.foreseen = dict(zip(pool, foreseen, strict=True))
    return query, pool


def scores(query: Query, pool: list[Endpoint], **parameters: Any) -> list[float]:
    scorer = build("latency-scorer", parameters)
    assert isinstance(scorer, Scorer)
    return [round(s, 3) for s in scorer.score(query, pool)]


SEEN = [Foreseen(0.2, 0.01), Foreseen(0.6, 0.01), Foreseen(1.0, 0.01), Foreseen(2.0, 0.01), Foreseen(3.0, 0.01)]


def test_who_is_in_time_comes_first_and_of_these_who_has_least_to_spare() -> None:
    query, pool = asked(SEEN, ttft="1000")

    assert scores(query, pool) == [0.5, 0.75, 1.0, 0.4, 0.0]
    assert scores(query, pool, headroomSelectionStrategy="most") == [1.0, 0.75, 0.5, 0.4, 0.0]


def test_without_an_slo_the_soonest_is_best() -> None:
    query, pool = asked(SEEN[:3])

    assert scores(query, pool) == [1.0, 0.5, 0.0]


def test_the_pace_between_tokens_counts_by_its_weight() -> None:
    query, pool = asked([Foreseen(0.2, 0.05), Foreseen(0.3, 0.01)], ttft="1000", tpot="20")

    assert scores(query, pool) == [0.4, 1.0]
    unasked, pool = asked([Foreseen(0.2, 0.05), Foreseen(0.2, 0.01), Foreseen(0.2)])
    assert scores(unasked, pool, ttftWeight=0, tpotWeight=1) == [0.0, 0.8, 1.0]


def test_without_predictions_load_and_cache_decide() -> None:
    pool = [make.endpoint(waiting=0, kv_usage=0.5), make.endpoint(waiting=4, kv_usage=0.0), make.endpoint(age=None)]
    query = make.query()
    query.cached, query.hashed = {pool[1]: 50}, 100

    assert scores(query, pool) == [0.5, 0.5, 0.667]
    assert scores(query, pool, compositeKVWeight=0, compositeQueueWeight=0) == [0.0, 0.5, 0.0]


def test_those_in_time_are_kept_and_now_and_then_the_others_tried() -> None:
    step, rng = build("slo-headroom-tier-filter", {"epsilonExploreNeg": 0.1}), Random(1)
    assert isinstance(step, Filter)
    kept: Counter[int] = Counter()
    for _ in range(1000):
        query, pool = asked(SEEN, rng, ttft="1000")
        kept[len(step.keep(query, pool))] += 1

    assert kept.keys() == {3, 2}
    assert kept[2] == pytest.approx(100, abs=40)


@pytest.mark.parametrize("slo", [{}, {"ttft": "1"}, {"ttft": "9000"}, {"ttft": "0"}, {"ttft": "soon"}])
def test_all_are_kept_where_there_is_nothing_to_tell_them_apart(slo: dict[str, str]) -> None:
    step = build("slo-headroom-tier-filter", {"epsilonExploreNeg": 0})
    assert isinstance(step, Filter)
    query, pool = asked(SEEN, **slo)

    assert step.keep(query, pool) == pool
    assert step.keep(make.query(headers={TTFT: "1000"}), pool) == pool


@pytest.mark.parametrize(
    ("priority", "slo", "refused"),
    [
        (-1, {"ttft": "100"}, True),
        (-1, {"ttft": "200"}, False),
        (-1, {"ttft": "200", "tpot": "9"}, True),
        (-1, {}, False),
        (0, {"ttft": "100"}, False),
    ],
)
def test_what_may_be_shed_is_refused_where_nobody_would_be_in_time(
    priority: int, slo: dict[str, str], refused: bool
) -> None:
    admitter = build("latency-slo-admitter")
    assert isinstance(admitter, Admitter)
    query, pool = asked(SEEN, priority=priority, **slo)
    if not refused:
        admitter.admit(query, pool)
        return

    with pytest.raises(Refused) as caught:
        admitter.admit(query, pool)
    assert (caught.value.reason.status, caught.value.reason.dropped_reason) == (429, "rejected-saturated")


def test_the_newer_name_of_an_slo_wins() -> None:
    old = {"x-slo-ttft-ms": "100", "x-slo-tpot-ms": "10"}

    assert slo_of(old) == Slo(0.1, 0.01)
    assert slo_of({**old, TTFT: "200"}) == Slo(0.2, 0.01)
    assert not slo_of({TTFT: "inf", TPOT: "-1"}).asked


def test_work_outstanding_and_the_prompt_that_is_not_cached_make_the_first_token_late() -> None:
    pool = make.endpoints(3)
    pool[1].work_s = pool[1].work_head_s = 0.5
    pool[1].work_since = make.NOW
    producer, query = PredictedLatencyProducer(slo_buffer_factor=2.0), make.query(b"a" * 40_000)
    query.cached = {pool[2]: 9_000}
    producer.produce(query, pool)
    cold, busy, warm = (query.foreseen[e].ttft_s for e in pool)

    assert busy == pytest.approx(cold + 2 * 0.5)
    assert 0 < warm < cold / 3
    producer.picked(query, pool[2])
    assert query.cost is not None
    assert query.cost.tokens == 1_000
    assert query.cost.work_s == pytest.approx(warm / 2)


def test_speeds_are_learned_from_first_tokens() -> None:
    fast, slow = pool = make.endpoints(2)
    producer = PredictedLatencyProducer()
    for n in range(200):
        for endpoint, seconds in ((fast, 0.1), (slow, 1.0)):
            query = make.query(b"a" * 16_000, now=make.NOW + 10 * n)
            producer.produce(query, pool)
            producer.picked(query, endpoint)
            producer.answered(query, endpoint, seconds)
    query = make.query(b"a" * 16_000, now=make.NOW + 9999)
    producer.produce(query, pool)

    assert query.foreseen[fast].ttft_s == pytest.approx(0.1, rel=0.2)
    assert query.foreseen[slow].ttft_s == pytest.approx(1.0, rel=0.2)


def test_plugins_that_go_by_predictions_get_a_producer_after_the_prefixes() -> None:
    scheduler = assembled("latency-scorer").scheduler
    sticky = {"ttftSource": "latencyPredictor", "maxTTFTPenaltyMs": 100}
    affinity = assembled(("prefix-cache-affinity-filter", sticky), "predicted-latency-producer").scheduler

    for of in (scheduler, affinity):
        assert [p.type for p in of.producers] == ["approx-prefix-cache-producer", "predicted-latency-producer"]
    assert "predicted-latency-producer" not in [
        p.type for p in assembled("prefix-cache-affinity-filter").scheduler.producers
    ]


def test_who_holds_the_prompt_is_left_for_who_is_predicted_to_be_much_sooner() -> None:
    parameters = {"ttftSource": "latencyPredictor", "maxTTFTPenaltyMs": 100}
    step = build("prefix-cache-affinity-filter", parameters)
    assert isinstance(step, Filter)
    pool = make.endpoints(2)
    for late_s, count in ((0.29, 1), (0.31, 2)):
        query = make.query(b"a" * 4000)
        query.cached, query.hashed = {pool[0]: 1000}, 1000
        query.foreseen = {pool[0]: Foreseen(late_s), pool[1]: Foreseen(0.2)}

        assert len(step.keep(query, pool)) == count


def test_a_prediction_counts_the_work_in_the_ledger() -> None:
    from epp.datastore.pool import Pool

    pool, producer = make.endpoints(2), PredictedLatencyProducer()
    ledger = Pool()
    with ledger.lease(pool[0], Cost(100, 100, 2.0), now=make.NOW):
        query = make.query(b"a" * 400)
        producer.produce(query, pool)
        busy, idle = (query.foreseen[e].ttft_s for e in pool)

    assert busy == pytest.approx(idle + 2.0)
