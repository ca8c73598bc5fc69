"""What a prompt costs at an endpoint and what it would meet there: each part of the reckoning by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, nan
from typing import Any

import pytest

from epp.datastore.pool import Lease, Pool
from epp.domain import Cost, Endpoint, Load, Request
from epp.scheduling.reckoner import BEHIND_MAX, FRESH_S, KV_DEAR, KV_EASY, KV_FULL, PAUSE_S, Prices, Reckoner
from epp.scheduling.speed import shape
from tests.make import pool, request

NOW = 100.0
LONG = 40_000  # tokens; far more than PAUSE_S of prefill
FREE = {"arrivals": 0.0, "decodes": 0.0, "full": 0.0, "behind": 0.0, "room": 0.0}


def site(work_s: float = 0.0, *, since: float = NOW, **load: Any) -> tuple[Pool, Endpoint]:
    """One endpoint that was sent so much prefill then, and a sample of what it says now."""
    over = pool("a")
    (endpoint,) = over.endpoints
    if work_s:
        over.lease(endpoint, Cost(work_s=work_s), now=since)
    if load:
        endpoint.load = Load(**{"at": NOW, **load})
    return over, endpoint


def cost(endpoint: Endpoint, prompt: int = LONG, hit: int = 0, **prices: float) -> float:
    ((found,), _, _) = Reckoner(Prices(**{**FREE, **prices})).costs(prompt, {endpoint: hit}, [endpoint], NOW)
    return found


def wait(endpoint: Endpoint) -> float:
    (_, (found,), _) = Reckoner().costs(LONG, {}, [endpoint], NOW)
    return found


def own(endpoint: Endpoint, prompt: int = LONG, hit: int = 0) -> float:
    (_, _, (found,)) = Reckoner().costs(prompt, {endpoint: hit}, [endpoint], NOW)
    return found


def met(endpoint: Endpoint, tokens: float = 0.0) -> tuple[float, float, float]:
    (found,) = Reckoner().meets([endpoint], tokens, NOW)
    return found


@pytest.mark.parametrize("name", ["arrivals", "decodes", "full", "behind", "room"])
@pytest.mark.parametrize("price", [-0.1, inf, nan])
def test_a_price_that_is_none_is_refused(name: str, price: float) -> None:
    with pytest.raises(ValueError, match=name):
        Prices(**{name: price})


@pytest.mark.parametrize(("passed_s", "left_s"), [(0.0, 3.0), (1.0, 2.0), (2.5, 1.0), (10.0, 1.0)])
def test_time_that_passes_is_taken_off_the_first_prompt_and_no_other(passed_s: float, left_s: float) -> None:
    over, endpoint = site(2.0, since=NOW - passed_s)
    over.lease(endpoint, Cost(work_s=1.0), now=NOW - passed_s)

    assert wait(endpoint) == pytest.approx(left_s)
    assert met(endpoint)[0] == pytest.approx(left_s)


def test_what_was_charged_before_the_first_answers_is_reckoned_by_what_they_say() -> None:
    over = pool("a", "b")
    busy, other = over.endpoints
    reckoner = Reckoner()
    for _ in range(3):
        over.lease(busy, Cost(tokens=20, context=20, work_s=0.0153), now=NOW)
    before_s = reckoner.costs(20, {}, [busy], NOW)[1][0]
    for n in range(8):  # on hardware that takes next to no time
        reckoner.speed(other).computed(0.0005, NOW + n, NOW + n + 1e-5)

    assert before_s == pytest.approx(3 * 0.0153)
    assert reckoner.costs(20, {}, [busy], NOW)[1][0] < 0.5 * before_s
    assert reckoner.meets([busy], 0, NOW)[0][0] < 0.5 * before_s
    assert reckoner.calm([busy], 0, NOW, (0.5 * before_s, 1.0, inf))


def test_what_was_charged_stands_where_nothing_has_changed() -> None:
    over, endpoint = site()
    reckoner = Reckoner()
    for n in range(8):
        reckoner.speed(endpoint).computed(0.5, NOW + n, NOW + n + 0.515)
    for uncached, cached in ((400, 0), (10, 30_000), (9_000, 2_000)):
        charge = Cost(tokens=uncached, context=uncached + cached)
        charge.work_s = reckoner.speed(endpoint).seconds(shape(uncached, cached))
        over.lease(endpoint, charge, now=NOW)

    assert reckoner.costs(LONG, {}, [endpoint], NOW)[1] == [endpoint.work_s]


@pytest.mark.parametrize(("samples", "counts"), [(0, True), (1, False), (50, False), (200, True)])
def test_what_was_charged_is_doubted_from_the_first_answer_until_there_are_many(samples: int, *, counts: bool) -> None:
    over = pool("a", "b")
    busy, other = over.endpoints
    over.lease(busy, Cost(tokens=20, context=20, work_s=5.0), now=NOW)
    reckoner = Reckoner()
    for n in range(samples):
        reckoner.speed(other).computed(0.0005, NOW + n, NOW + n + 0.0155)

    assert (reckoner.meets([busy], 0, NOW)[0][0] == 5.0) is counts
    assert (reckoner.costs(20, {}, [busy], NOW)[1][0] == 5.0) is counts


@pytest.mark.parametrize("passed_s", [0.0, 1.0, 2.5, 10.0])
def test_all_is_calm_up_to_the_wait_that_is_left_and_not_below(passed_s: float) -> None:
    _, endpoint = site(2.0, since=NOW - passed_s)
    reckoner, left_s = Reckoner(), max(0.0, 2.0 - passed_s)

    assert reckoner.calm([endpoint], 0, NOW, (left_s + 0.01, 1.0, inf))
    assert reckoner.calm([endpoint], 0, NOW, (left_s - 0.01, 1.0, inf)) is False


def test_what_is_cached_need_not_be_computed() -> None:
    _, endpoint = site()

    assert own(endpoint, hit=LONG // 2) < 0.8 * own(endpoint)
    assert 0 < own(endpoint, hit=LONG) < 0.2 * own(endpoint)


def test_each_further_arrival_costs_ones_own_work_once_more() -> None:
    _, endpoint = site()

    assert cost(endpoint, arrivals=3.0) == pytest.approx(4.0 * cost(endpoint))


def test_those_that_decode_are_each_held_up_for_as_long() -> None:
    over, endpoint = site()
    leases: list[Lease] = [over.lease(endpoint, Cost(work_s=0.0)) for _ in range(5)]

    assert cost(endpoint, decodes=0.2) == pytest.approx((1 + 0.2 * len(leases)) * cost(endpoint))


def test_requests_of_others_that_run_are_held_up_and_those_that_wait_are_waited_for() -> None:
    _, running = site(running=4.0, waiting=0.0)
    _, waiting = site(running=0.0, waiting=4.0)
    _, idle = site(running=0.0, waiting=0.0)

    assert cost(running, decodes=0.2) == pytest.approx((1 + 0.2 * 4) * cost(idle))
    assert wait(running) == 0.0
    assert cost(waiting, decodes=0.2) == pytest.approx(cost(waiting))
    assert wait(waiting) == pytest.approx(4 * own(idle, prompt=0))


def test_a_cache_costs_more_from_where_it_is_dear() -> None:
    easy, dear, full = (site(kv_usage=held)[1] for held in (KV_DEAR, KV_DEAR + 0.12, KV_FULL))
    more = [cost(e, full=4.0) - cost(e) for e in (easy, dear, full)]

    assert more[0] == 0.0
    assert more[1] == pytest.approx(4.0 * 0.12 / (KV_FULL - KV_DEAR) * own(dear))
    assert more[2] == pytest.approx(4.0 * own(full))


def test_what_is_on_its_way_counts_as_in_the_cache() -> None:
    over, endpoint = site(kv_usage=0.5, block_size=16, num_blocks=10_000)  # 160,000 tokens
    over.lease(endpoint, Cost(40_000))

    assert met(endpoint, 24_000)[1] == pytest.approx((0.5 + 0.25 + 0.15 - KV_EASY) / (KV_FULL - KV_EASY))
    assert cost(endpoint, full=4.0) > cost(endpoint)  # 0.5 and a fourth each are more than what is dear


def test_a_sample_counts_as_long_as_it_is_fresh() -> None:
    _, fresh = site(at=NOW - FRESH_S, kv_usage=1.0)
    _, stale = site(at=NOW - FRESH_S - 0.01, kv_usage=1.0)

    assert met(fresh)[1] > 1.0
    assert met(stale)[1] == 0.0
    assert cost(fresh, full=4.0) > cost(stale, full=4.0)


def test_an_engines_own_queue_shows_that_it_fell_behind() -> None:
    """Where ours are all it has, none is another's, and the ledger may believe that they are done."""
    over, endpoint = site(waiting=10.0)
    for _ in range(10):
        over.lease(endpoint, Cost(work_s=0.0))

    assert met(endpoint)[0] == pytest.approx(10 * own(endpoint, prompt=0))


def test_a_long_prompt_pays_for_those_before_it_whose_tokens_it_holds_up() -> None:
    over, endpoint = site()
    held_up = []
    for _ in range(BEHIND_MAX + 2):
        held_up.append(cost(endpoint, behind=12.0) - cost(endpoint))
        over.lease(endpoint, Cost(work_s=1.0), now=NOW)
    each = 12.0 * (own(endpoint) - PAUSE_S)

    assert held_up == pytest.approx([0.0, each, BEHIND_MAX * each, BEHIND_MAX * each])


def test_a_short_prompt_holds_nobody_up() -> None:
    _, endpoint = site(1.0)

    assert own(endpoint, prompt=10) < PAUSE_S
    assert cost(endpoint, prompt=10, behind=12.0) == cost(endpoint, prompt=10)


@pytest.mark.parametrize(("ours", "waiting"), [(10, 10.0), (1, 5.0)])
def test_all_is_calm_up_to_what_the_engines_queue_takes(ours: int, waiting: float) -> None:
    over, endpoint = site(waiting=waiting)
    for _ in range(ours):
        over.lease(endpoint, Cost(work_s=0.0))
    wait_s = met(endpoint)[0]

    assert wait_s > 0
    assert Reckoner().calm([endpoint], 0, NOW, (1.01 * wait_s, 1.0, inf))
    assert not Reckoner().calm([endpoint], 0, NOW, (0.99 * wait_s, 1.0, inf))


def test_all_is_calm_up_to_the_pace_asked_for() -> None:
    over, endpoint = site(running=1.0)
    over.lease(endpoint, Cost(work_s=0.0))
    reckoner = Reckoner()
    reckoner.speed(endpoint).pace_s = 0.2

    assert reckoner.calm([endpoint], 0, NOW, (inf, 1.0, 0.21))
    assert not reckoner.calm([endpoint], 0, NOW, (inf, 1.0, 0.19))


def test_nothing_is_calm_where_an_endpoint_cannot_be_reached_or_no_wait_is_short_enough() -> None:
    _, endpoint = site()
    assert Reckoner().calm([endpoint], 0, NOW, (0.0, 1.0, inf))
    assert not Reckoner().calm([endpoint], 0, NOW, (-0.1, 1.0, inf))
    endpoint.reachable = False

    assert not Reckoner().calm([endpoint], 0, NOW, (0.0, 1.0, inf))


class Cached:
    """Prefixes that are what a test says."""

    def __init__(self, found: dict[Endpoint, int]) -> None:
        self.found = found

    def cached(self, asked: Request, model: str | None, endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, int]:
        return self.found


def test_what_a_request_takes_is_told_from_where_most_of_it_is_cached() -> None:
    most, some, none = pool("a", "b", "c").endpoints
    asked = request(prompt_tokens=LONG)
    wants = Reckoner(prefixes=Cached({most: 30_000, some: 10_000})).wants(asked, [most, some, none])
    least = own(none, hit=30_000)

    assert wants.own_s == pytest.approx(least)
    assert wants.alone_s == pytest.approx(own(none))
    assert wants.extra is not None
    assert wants.extra[most] == 0.0
    assert wants.extra[some] == pytest.approx(own(none, hit=10_000) - least)
    assert wants.extra_elsewhere == pytest.approx(own(none) - least)


def test_of_a_prompt_that_is_cached_as_a_whole_one_token_is_computed() -> None:
    (endpoint,) = pool("a").endpoints
    wants = Reckoner(prefixes=Cached({endpoint: LONG + 100})).wants(request(prompt_tokens=LONG), [endpoint])

    assert wants.own_s == pytest.approx(own(endpoint, hit=LONG - 1))
    assert wants.extra == {endpoint: 0.0}


def test_a_list_that_has_changed_is_read_again() -> None:
    over = pool("a", "b")
    listed, reckoner = list(over.endpoints), Reckoner()
    reckoner.speed(listed[1]).ratio = 3.0
    _, _, before = reckoner.costs(LONG, {}, listed, NOW)
    listed.reverse()
    _, _, after = reckoner.costs(LONG, {}, listed, NOW)

    assert before[1] > 2 * before[0]
    assert after == before[::-1]
