"""Who has room by each of the Go picker's rules; ours is in `test_own.py`."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from epp.datastore.pool import Pool
from epp.domain import Reason, Refused
from epp.flow.build import probabilistic
from epp.flow.limits import Holdback, SoftReflective, StaticLimit
from epp.flow.rules import RETRY_S_MAX, LegacyRule, SaturationRule, retry_after_s
from epp.flow.saturation import Concurrency, Utilization, drift
from tests.flow import make
from tests.make import load, pool

NOW = 10.0


def open_to(rule: Any, over: Pool, priority: int) -> list[str]:
    room = rule.room(make.ticket(priority=priority), over.endpoints, NOW)
    return [e.name for e in (over.endpoints if room is None else room)]


@pytest.mark.parametrize(
    ("waiting", "kv_usage", "saturation"), [(5, 0.0, 1.0), (0, 0.8, 1.0), (10, 0.4, 2.0), (1, 0.4, 0.5), (0, 0, 0)]
)
def test_utilization_is_the_worse_of_queue_and_cache(waiting: float, kv_usage: float, saturation: float) -> None:
    over = pool("a")
    over.endpoints[0].load = load(at=NOW, waiting=waiting, kv_usage=kv_usage)

    assert Utilization().of(over.endpoints, NOW) == pytest.approx(saturation)


def test_saturation_is_a_mean_and_nobody_there_is_full() -> None:
    over = pool("a", "b")
    over.endpoints[0].load, over.endpoints[1].load = load(at=NOW, waiting=10), load(at=NOW)

    assert Utilization().of(over.endpoints, NOW) == 1.0
    assert Utilization().of((), NOW) == Concurrency().of((), NOW) == 1.0


def test_a_stale_sample_gives_way_to_the_ledger_and_never_means_full() -> None:
    over = pool("a")
    endpoint = over.endpoints[0]
    endpoint.load = load(at=NOW - 1, waiting=50, kv_usage=1.0)
    watch = Utilization(stale_s=0.2, ledger=Concurrency(requests_max=4))
    assert (watch.of(over.endpoints, NOW), watch.stale(over.endpoints, NOW)) == (0.0, 1)
    over.lease(endpoint, 1, requests=3)

    assert watch.of(over.endpoints, NOW) == 0.75
    assert Utilization(stale_s=2.0).stale(over.endpoints, NOW) == 0


@pytest.mark.parametrize(("mode", "saturation"), [("requests", 0.25), ("tokens", 0.6), ("hybrid", 0.6)])
def test_concurrency_is_what_is_in_flight_of_what_may_be(mode: Any, saturation: float) -> None:
    over = pool("a", "b")
    over.lease(over.endpoints[0], 1200)

    assert Concurrency(mode, requests_max=2, tokens_max=1000).of(over.endpoints, NOW) == saturation


def test_detectors_as_filters_keep_who_is_below_and_everybody_where_nobody_is() -> None:
    over = pool("a", "b")
    a, b = over.endpoints
    a.load, b.load = load(at=NOW, waiting=6), load(at=NOW, waiting=1)
    over.lease(a, 1, requests=3)

    assert Utilization().keep(over.endpoints, NOW) == [b]
    assert Utilization(headroom=0.2).keep(over.endpoints, NOW) == [a, b]
    assert Utilization(waiting_max=0.5).keep(over.endpoints, NOW) == [a, b]
    assert Concurrency(requests_max=3).keep(over.endpoints) == [b]
    assert Concurrency(requests_max=3, headroom=0.5).keep(over.endpoints) == [a, b]


def test_the_drift_is_what_the_engine_has_not_counted() -> None:
    over = pool("a")
    endpoint = over.endpoints[0]
    assert drift(endpoint) is None
    endpoint.load = load(running=2, waiting=1)
    over.lease(endpoint, 1, requests=5)

    assert drift(endpoint) == 2


@pytest.mark.parametrize(
    ("priority", "waiting", "refused"),
    [(-1, 5, True), (-1, 4, False), (0, 5, False)],
    ids=["full", "not full", "normal"],
)
def test_legacy_admission_refuses_what_may_be_shed_when_full_and_lets_everybody_else_go(
    priority: int, waiting: int, refused: bool
) -> None:
    over = pool("a")
    over.endpoints[0].load = load(at=NOW, waiting=waiting)
    rule, ticket = LegacyRule(Utilization()), make.ticket(priority=priority)
    try:
        rule.screen(ticket, over.endpoints, NOW)
        shed = False
    except Refused as why:
        shed = why.reason is Reason.SHED

    assert shed is refused
    assert rule.room(ticket, over.endpoints, NOW) is None


@pytest.mark.parametrize(("waiting", "kv_usage", "share"), [(0, 0.12, 0.023), (0, 0.28, 1.0), (0, 0.0, 0.0)])
def test_the_probabilistic_admitter_drops_the_share_of_its_formula(
    waiting: float, kv_usage: float, share: float
) -> None:
    over = pool("a")
    over.endpoints[0].load = load(at=NOW, waiting=waiting, kv_usage=kv_usage)
    rule = probabilistic({"power": 5, "k": 300}, LegacyRule(Utilization()), Random(1))
    dropped = 0
    for _ in range(2000):
        try:
            rule.screen(make.ticket(priority=-1), over.endpoints, NOW)
        except Refused:
            dropped += 1
        rule.screen(make.ticket(priority=0), over.endpoints, NOW)

    # Four standard deviations of 2,000 draws at 0.023 are 0.014.
    assert dropped / 2000 == pytest.approx(share, abs=0.014)


def test_flow_control_of_the_go_picker_holds_everybody_at_the_ceiling() -> None:
    over = pool("a")
    over.endpoints[0].load = load(at=NOW, waiting=4)
    rule = SaturationRule(Utilization(), StaticLimit(0.8))

    assert open_to(rule, over, 5) == []
    assert open_to(SaturationRule(Utilization()), over, 5) == ["a"]
    assert rule.until(make.ticket(), over.endpoints, 99.0, NOW) == math.inf


def test_samples_that_do_not_show_who_was_let_go_let_go_one_an_endpoint() -> None:
    over = pool("a", "b", "c")

    assert SaturationRule(Utilization()).at_once(over.endpoints) == 3
    assert SaturationRule(Concurrency()).at_once(over.endpoints) > 1_000_000


def test_limits_by_priority() -> None:
    by_rank, by_value = Holdback(0.4), Holdback(0.4, domain="value")
    known = {-10, 0, 10, 90}

    assert [by_rank.ceiling(p, known, 0.5) for p in sorted(known)] == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert [by_value.ceiling(p, known, 0.5) for p in sorted(known)] == pytest.approx([0.4, 0.46, 0.52, 1.0])
    assert [SoftReflective().ceiling(p, {2, 1, 0}, 0.5) for p in (2, 1, 0)] == [1.0, 0.75, 0.5]
    assert Holdback(0.4).ceiling(3, (), 0.5) == SoftReflective().ceiling(3, (), 0.5) == 1.0


def test_whoever_is_told_to_come_back_is_told_whole_seconds_within_reason() -> None:
    assert [retry_after_s(wait_s) for wait_s in (0.0, 0.2, 1.0, 1.01, 1e9)] == [1, 1, 1, 2, RETRY_S_MAX]
