"""OneHop's own rule: who has room, what changes beside critical requests, what is worth a wait."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from epp.domain import Candidate, Load, Request
from epp.flow.ticket import Key, Ticket
from epp.scheduling.framework import Query
from tests.flow.site import LONG, NOW, Site
from tests.make import load


@pytest.mark.parametrize(("priority", "takes"), [(1, ["e0", "e1", "e2"]), (0, ["e0", "e1"]), (-1, ["e0"])])
def test_each_class_goes_up_to_its_pressure(priority: int, takes: list[str]) -> None:
    """0.35, 0.8 and 1 second of prefill."""
    site = Site(4)
    for place, work_s in enumerate((0.34, 0.79, 0.99, 1.01)):
        site.busy(place, work_s)

    assert site.room(site.ticket(priority)) == takes


@pytest.mark.parametrize(
    ("sample", "classes"),
    [
        (load(at=NOW, kv_usage=0.995), []),
        (load(at=NOW, kv_usage=0.98), [1]),
        (load(at=NOW, kv_usage=0.92), [0, 1]),
        (load(at=NOW, kv_usage=0.8), [-1, 0, 1]),
        (load(at=NOW, waiting=70), []),
        (load(at=NOW, waiting=60), [1]),
        (load(at=NOW, waiting=40), [0, 1]),
        (load(at=NOW, waiting=5), [-1, 0, 1]),
        (load(at=NOW - 5, waiting=500, kv_usage=1.0), [-1, 0, 1]),
        (Load(at=NOW), [-1, 0, 1]),
        (None, [-1, 0, 1]),
    ],
    ids=[
        *("cache full", "cache nearly full", "cache filling", "cache easy"),
        *("long queue", "queue", "shorter queue", "short queue", "stale", "says nothing", "no sample"),
    ],
)
def test_the_engines_cache_and_queue_count_while_they_are_fresh(sample: Load | None, classes: list[int]) -> None:
    site = Site(1)
    site.busy(0, 0.1)
    site.endpoints[0].load = sample

    assert [priority for priority in (-1, 0, 1) if site.room(site.ticket(priority))] == classes


def test_an_endpoint_that_cannot_be_reached_has_no_room_unless_none_can() -> None:
    site = Site(2)
    site.endpoints[0].reachable = False
    assert site.room(site.ticket()) == ["e1"]
    site.endpoints[1].reachable = False

    assert site.room(site.ticket()) == ["e0", "e1"]


def test_beside_critical_requests_others_find_half_the_room() -> None:
    site = Site(2)
    site.busy(0, 0.6, critical=True)
    site.busy(1, 0.6)

    assert site.room(site.ticket(0)) == ["e1"]
    assert site.room(site.ticket(1)) == ["e0", "e1"]


@pytest.mark.parametrize(
    "load",
    [
        {"kv_usage": 0.995, "num_blocks": 1000, "block_size": 16},
        {"waiting": 200.0},
    ],
)
def test_a_full_cache_or_a_queue_in_the_engine_is_no_room(load: dict[str, Any]) -> None:
    site = Site(2)
    site.busy(0, 0.1, **load)
    site.busy(1, 0.1)

    assert site.room(site.ticket()) == ["e1"]


def test_a_slow_pace_holds_back_all_but_critical_requests() -> None:
    site = Site(1)
    for second in range(3):
        site.endpoints[0].load = Load(at=NOW - 2 + second, decode_seconds=20.0 * second, decode_tokens=100.0 * second)
        site.rule.reckoning.meets(site.endpoints, 0.0, NOW)
    site.busy(0, 0.1)

    assert site.room(site.ticket(0)) == []
    assert site.room(site.ticket(1)) == ["e0"]


@pytest.mark.parametrize(
    ("pace_s", "long", "takes"),
    [
        *((0.03, False, [0, -1]), (0.065, False, [0, -1]), (0.075, False, [0]), (0.085, False, [])),
        *((0.04, True, [0]), (0.075, True, [0]), (0.085, True, [])),
    ],
)
def test_a_pace_that_leaves_room_is_a_pressure_for_long_prompts_only(
    pace_s: float, long: bool, takes: list[int]
) -> None:
    site = Site(1)
    for second in range(3):
        seconds = pace_s * 100.0 * second
        site.endpoints[0].load = Load(at=NOW - 2 + second, decode_seconds=seconds, decode_tokens=100.0 * second)
        site.rule.reckoning.meets(site.endpoints, 0.0, NOW)
    site.busy(0, 0.01)
    prompt = b"x" * (50_000 if long else 40)

    assert [level for level in (0, -1) if site.room(site.ticket(level, prompt))] == takes


def test_a_pressure_of_one_is_as_many_seconds_as_the_settings_say() -> None:
    site = Site(2, pressure_s=2.0)
    site.busy(0, 1.5)
    site.busy(1, 1.7)

    assert site.room(site.ticket(0)) == ["e0"]
    assert site.rule.fullness(site.endpoints, NOW) == pytest.approx((1.5 + 1.7) / 2 / 2.0 / 0.8)


def test_an_idle_endpoint_always_has_room() -> None:
    site = Site(1)
    site.endpoints[0].load = Load(at=NOW, kv_usage=1.0)

    assert site.room(site.ticket(-1)) == ["e0"]


def test_what_is_cached_at_a_busy_endpoint_is_worth_a_wait_as_long_as_it_saves() -> None:
    site = Site(2)
    site.sent(LONG, 0)
    site.busy(0, 0.9)
    site.busy(1, 0.1)

    assert site.room(site.ticket(0, LONG)) == []
    assert site.room(site.ticket(0, LONG, arrived=NOW - 1.0)) == ["e1"]
    assert site.room(site.ticket(0, LONG[::-1])) == ["e1"]


def test_where_most_is_cached_and_there_is_room_the_choice_is_among_all_that_have_some() -> None:
    site = Site(3)
    site.sent(LONG, 0)
    for place, work_s in enumerate((0.7, 0.1, 0.9)):
        site.busy(place, work_s)

    assert site.room(site.ticket(0, LONG)) == ["e0", "e1"]


@pytest.mark.parametrize(("kv_usage", "takes"), [(0.5, ["e1"]), (0.91, [])])
def test_where_all_caches_are_nearly_full_a_copy_costs_the_room_of_a_request(kv_usage: float, takes: list[str]) -> None:
    site = Site(2)
    site.sent(LONG, 0)
    site.busy(0, 0.9, kv_usage=0.91, num_blocks=100_000, block_size=16)
    site.busy(1, 0.1, kv_usage=kv_usage, num_blocks=100_000, block_size=16)

    assert site.room(site.ticket(0, LONG, arrived=NOW - 1.0)) == takes
    assert site.room(site.ticket(0, LONG[::-1])) == ["e1"]  # nothing of it is anywhere


def test_an_alias_waits_for_what_the_model_meant_has_cached() -> None:
    site = Site(2)
    site.sent(LONG, 0)
    site.busy(0, 0.9)
    site.busy(1, 0.1)
    request = Request("r", model="auto", prompt=LONG, prompt_tokens=len(LONG) // 4, target="m")
    ticket = Ticket(request, Key(frozenset({"m"})), NOW)
    site.rule.screen(ticket, site.endpoints, NOW)

    assert site.room(ticket) == []


def test_a_slow_engine_has_a_longer_slo_by_its_own_prefill() -> None:
    fast, slow = Site(1), Site(1)
    for number in range(200):
        query = Query(
            Request("r", model="m", prompt=LONG, prompt_tokens=20_000 + number),
            Candidate("m"),
            NOW + 10.0 * number,
            Random(1),
        )
        slow.profile.run(query, slow.endpoints)
        slow.profile.picked(query, slow.endpoints[0])
        slow.profile.answered(query, slow.endpoints[0], 5.0)
    prompt = LONG[::-1]

    assert slow.ticket(prompt=prompt).due_s > 2 * fast.ticket(prompt=prompt).due_s


def test_who_is_let_go_is_booked_where_its_prompt_is_cached_and_for_the_rest_of_it() -> None:
    """Not where least is outstanding: when it runs, that may be the only place left to it."""
    site, prompt = Site(2), b"x" * 40_000
    site.sent(prompt, 1)
    site.busy(1, 0.05)

    endpoint, cost = site.rule.goes(site.ticket(prompt=prompt), site.endpoints, NOW)

    assert endpoint is site.endpoints[1]
    assert cost.tokens < 300
    assert cost.context == 10_000


def test_requests_of_an_adapter_that_are_let_go_together_are_booked_where_the_first_of_them_is() -> None:
    """Each booking takes the adapter's slot; with another endpoint's, all that are let go at once would take one."""
    site = Site(2)
    for endpoint in site.endpoints:
        endpoint.models = {"m": "base"}
    for _ in range(2):
        endpoint, cost = site.rule.goes(site.ticket(), site.endpoints, NOW)
        site.pool.lease(endpoint, cost, now=NOW)

    assert [e.inflight_adapters for e in site.endpoints] == [{"m": 2}, {}]


def test_room_in_the_cache_is_asked_for_what_is_not_cached_there() -> None:
    site, prompt = Site(2), b"x" * 40_000
    site.sent(prompt, 1)
    for place in (0, 1):
        site.busy(place, 0.01, kv_usage=0.9, num_blocks=5_000, block_size=16)

    assert site.room(site.ticket(prompt=prompt)) == ["e1"]


def test_how_full_they_are_is_the_mean_of_the_worst_pressure_by_the_ceiling_of_the_standard_class() -> None:
    site = Site(4)
    assert site.rule.fullness(site.endpoints, NOW) == 0.0
    assert site.rule.fullness([], NOW) == 1.0
    site.busy(0, 0.4)
    assert site.rule.fullness(site.endpoints, NOW) == pytest.approx(0.4 / 4 / 0.8)
    site.busy(1, 0.1, kv_usage=0.95)  # ten of the fourteen hundredths between easy and full
    assert site.rule.fullness(site.endpoints, NOW) == pytest.approx((0.4 + 10 / 14) / 4 / 0.8)


@pytest.mark.parametrize(("pace_s", "pressure"), [(0.05, 0.0), (0.069, 0.0), (0.071, 0.71), (0.09, 0.9)])
def test_the_pace_makes_them_full_from_where_it_is_a_pressure(pace_s: float, pressure: float) -> None:
    site = Site(1)
    for second in range(3):
        seconds = pace_s * 100.0 * second
        site.endpoints[0].load = Load(at=NOW - 2 + second, decode_seconds=seconds, decode_tokens=100.0 * second)
        site.rule.reckoning.meets(site.endpoints, 0.0, NOW)

    assert site.rule.fullness(site.endpoints, NOW) == pytest.approx(pressure / 0.8)


def test_a_receipt_tells_of_the_endpoints_that_can_be_reached_and_of_all_if_none_can() -> None:
    site = Site(3)
    site.endpoints[1].reachable = False
    ticket = site.ticket()
    some = site.rule.view(ticket, site.endpoints, 0.0, NOW, contested=False)
    for endpoint in site.endpoints:
        endpoint.reachable = False
    none = site.rule.view(ticket, site.endpoints, 0.0, NOW, contested=False)

    assert some.addresses == [site.endpoints[0].address, site.endpoints[2].address]
    assert none.addresses == [e.address for e in site.endpoints]
