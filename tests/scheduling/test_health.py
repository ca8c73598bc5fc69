"""Who is left out for failing, for how long, how they come back, and that nobody is lost for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from epp.domain import Candidate, Endpoint, Fault
from epp.scheduling import standing
from epp.scheduling.framework import Answer, Profile, Query
from epp.scheduling.plugins.active_request import ActiveRequestScorer
from epp.scheduling.plugins.health import HealthFilter
from epp.scheduling.plugins.max_score import MaxScorePicker
from tests.make import request

from . import make

FAULTS: tuple[Fault, ...] = ("connect", "timeout", "unavailable", "server")
OK = Answer(seconds=0.0, status=200)


class Desk:
    """A filter over some endpoints in good standing, and a clock that is moved by hand."""

    def __init__(self, count: int = 4, **parameters: Any) -> None:
        self.step = HealthFilter(**parameters)
        self.endpoints = [make.endpoint(f"e{n}") for n in range(count)]
        self.now = 1000.0
        self.rng = Random(1)
        self.step.relisted(self.endpoints)

    def query(self) -> Query:
        return Query(request("m"), Candidate("m"), self.now, self.rng)

    def keep(self, endpoints: Sequence[Endpoint] | None = None) -> list[str]:
        return [e.name for e in self.step.keep(self.query(), endpoints or self.endpoints)]

    def fails(self, place: int, fault: Fault, times: int = 1) -> None:
        for _ in range(times):
            self.step.ended(self.query(), self.endpoints[place], Answer(seconds=0.0, status=503, fault=fault))

    def answers(self, place: int, times: int = 1) -> None:
        for _ in range(times):
            self.step.ended(self.query(), self.endpoints[place], OK)

    def ejected(self, place: int) -> float:
        """Seconds for which it still is."""
        return max(0.0, self.endpoints[place].ejected_until - self.now)


ALL = ["e0", "e1", "e2", "e3"]


def test_everyone_in_good_standing_is_kept_as_given() -> None:
    assert Desk().keep() == ALL


@pytest.mark.parametrize(("fault", "times"), [("connect", 2), ("timeout", 4), ("unavailable", 4), ("server", 8)])
def test_so_many_failures_in_a_row_and_it_is_left_out(fault: Fault, times: int) -> None:
    desk = Desk()
    desk.fails(1, fault, times - 1)
    before = desk.keep()
    desk.fails(1, fault)

    assert before == ALL
    assert desk.keep() == ["e0", "e2", "e3"]


def test_an_answer_in_between_starts_the_count_again() -> None:
    desk = Desk()
    for _ in range(8):
        desk.fails(1, "unavailable", 3)
        desk.answers(1, 8)

    assert desk.keep() == ALL


def test_failures_that_are_minutes_apart_do_not_add_up() -> None:
    desk = Desk()
    for _ in range(10):
        desk.fails(1, "connect")
        desk.now += 100.0

    assert desk.keep() == ALL


@pytest.mark.parametrize(
    "answer",
    [
        Answer(0.0, status=400),
        Answer(0.0, status=404),
        Answer(0.0, status=429),
        Answer(0.0, status=None, whole=False),
        Answer(0.0, status=200, whole=False),
        Answer(0.0, status=501),
    ],
)
def test_what_clients_do_is_neither_a_failure_nor_a_success(answer: Answer) -> None:
    desk = Desk()
    for _ in range(50):
        desk.step.ended(desk.query(), desk.endpoints[1], answer)
    before = desk.keep()
    desk.fails(1, "unavailable", 3)
    desk.step.ended(desk.query(), desk.endpoints[1], answer)
    desk.fails(1, "unavailable")

    assert before == ALL
    assert desk.keep() == ["e0", "e2", "e3"]


def test_where_the_gateway_went_elsewhere_the_one_picked_has_failed_and_the_other_has_not() -> None:
    desk = Desk()
    for _ in range(2):
        desk.step.moved(desk.query(), desk.endpoints[1], desk.endpoints[2])
        desk.answers(2)

    assert desk.keep() == ["e0", "e2", "e3"]


def test_half_of_its_requests_failing_is_enough_where_the_others_do_better() -> None:
    desk = Desk()
    for _ in range(10):
        desk.fails(1, "unavailable")
        desk.answers(1)
        desk.answers(0, 2)

    assert desk.keep() == ["e0", "e2", "e3"]


def test_where_all_fail_alike_it_is_not_the_endpoints() -> None:
    desk = Desk()
    for _ in range(30):
        for place in range(4):
            desk.fails(place, "server")
            desk.answers(place)

    assert desk.keep() == ALL


def test_a_few_requests_are_no_rate() -> None:
    desk = Desk()
    for _ in range(4):
        desk.fails(1, "unavailable")
        desk.answers(1)

    assert desk.keep() == ALL


def test_each_ejection_is_twice_as_long_up_to_a_cap_and_good_minutes_are_counted() -> None:
    desk, lengths = Desk(), []
    for _ in range(8):
        desk.fails(1, "connect", 2)
        lengths.append(desk.ejected(1))
        desk.now += lengths[-1] + 0.1
    desk.answers(1)
    desk.now += 10 * standing.FORGIVE_S
    desk.fails(1, "connect", 2)

    expected = [5, 10, 20, 40, 80, 120, 120, 120]
    assert all(0.8 * e <= length <= 1.2 * e for e, length in zip(expected, lengths, strict=True))
    assert len({round(length / e, 6) for e, length in zip(expected, lengths, strict=True)}) == 8
    assert desk.ejected(1) <= 6.0


def test_what_comes_back_to_fail_again_goes_at_once() -> None:
    desk = Desk()
    desk.fails(1, "unavailable", 4)
    desk.now += desk.ejected(1)
    back = desk.keep()
    desk.fails(1, "connect")

    assert back == ALL
    assert desk.keep() == ["e0", "e2", "e3"]


def test_one_answer_after_it_came_back_and_it_is_trusted_as_before() -> None:
    desk = Desk()
    desk.fails(1, "unavailable", 4)
    desk.now += desk.ejected(1)
    desk.answers(1)
    desk.fails(1, "unavailable", 3)

    assert desk.keep() == ALL


def test_answers_to_what_was_sent_before_the_ejection_change_nothing_about_it() -> None:
    desk = Desk()
    desk.fails(1, "connect", 2)
    until = desk.endpoints[1].ejected_until
    desk.fails(1, "connect", 20)
    desk.answers(1)

    assert desk.endpoints[1].ejected_until == until
    assert standing.of(desk.endpoints[1]).ejections == 1


def test_past_the_share_nobody_is_left_out_and_the_least_busy_are_taken() -> None:
    desk = Desk()
    for place in (0, 1):
        desk.fails(place, "connect", 2)
    half = desk.keep()
    for place, inflight in enumerate((9, 5, 5, 7)):
        desk.endpoints[place].inflight_requests = inflight
    desk.fails(2, "connect", 2)

    assert half == ["e2", "e3"]
    assert desk.keep() == ["e1", "e2"]


def test_in_a_panic_one_that_fails_at_once_is_no_black_hole() -> None:
    desk = Desk()
    for place in (0, 1, 2):
        desk.fails(place, "connect", 2)
    counts: Counter[str] = Counter()
    for _ in range(200):
        name = desk.keep()[0]
        counts[name] += 1
        place = int(name[1:])
        if place == 3:
            desk.endpoints[3].inflight_requests += 1
        else:
            desk.fails(place, "connect")
        desk.now += 0.01

    assert counts["e3"] >= 40


def test_a_share_is_one_of_those_that_may_serve_the_request() -> None:
    desk = Desk(6)
    desk.fails(0, "connect", 2)

    assert desk.keep(desk.endpoints[:1]) == ["e0"]
    assert desk.keep(desk.endpoints[:2]) == ["e1"]


def test_a_returned_endpoint_has_room_for_one_at_first_and_for_as_many_as_others_in_the_end() -> None:
    desk = Desk()
    desk.fails(1, "unavailable", 4)
    desk.now = desk.endpoints[1].ejected_until
    for place in (0, 2, 3):
        desk.endpoints[place].inflight_requests = 20
    room = []
    for tenth in range(11):
        desk.now = desk.endpoints[1].ejected_until + tenth
        taken = next(n for n in range(100) if not _has_room(desk, n))
        room.append(taken)

    assert room[:10] == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert room[10] == 99


def _has_room(desk: Desk, inflight: int) -> bool:
    desk.endpoints[1].inflight_requests = inflight
    return inflight < 99 and "e1" in desk.keep()


def arrive(desk: Desk) -> Endpoint:
    """One more, as a pool lists it."""
    new = make.endpoint("new")
    new.limited = True
    desk.endpoints.append(new)
    desk.step.relisted(desk.endpoints)
    return new


def burst(desk: Desk, count: int) -> Counter[str]:
    """So many requests at once, to the least busy that is kept."""
    profile = Profile("test", filters=(desk.step,), scorers=((ActiveRequestScorer(), 1.0),), picker=MaxScorePicker())
    counts: Counter[str] = Counter()
    for _ in range(count):
        pick = profile.run(desk.query(), desk.endpoints)
        assert pick is not None
        pick.endpoint.inflight_requests += 1
        counts[pick.endpoint.name] += 1
    return counts


def test_a_new_endpoint_is_not_flooded_by_a_burst_and_takes_its_part_a_while_later() -> None:
    desk = Desk()
    for endpoint in desk.endpoints:
        endpoint.inflight_requests = 50
    new = arrive(desk)
    first = burst(desk, 100)["new"]
    desk.now += standing.SLOW_START_S / 2
    half = burst(desk, 100)["new"]
    desk.now += standing.SLOW_START_S / 2
    whole = burst(desk, 100)["new"]

    assert first == 1
    assert 25 <= half <= 60
    assert whole > 20
    assert not new.limited


def test_where_all_are_new_nobody_is_held_back() -> None:
    desk = Desk()
    for endpoint in desk.endpoints:
        endpoint.limited = True

    assert set(burst(desk, 40).values()) == {10}


def test_a_new_endpoint_is_taken_while_the_others_are_idle() -> None:
    desk = Desk(1)
    arrive(desk)

    assert desk.keep() == ["e0", "new"]


def test_without_slow_start_a_new_endpoint_is_one_of_all() -> None:
    desk = Desk(slow_start_seconds=0)
    for endpoint in desk.endpoints:
        endpoint.inflight_requests = 50
    arrive(desk).inflight_requests = 40

    assert "new" in desk.keep()


def test_an_endpoint_that_can_be_reached_again_warms_up() -> None:
    desk = Desk()
    standing.returned(desk.endpoints[1])
    for endpoint in desk.endpoints:
        endpoint.inflight_requests = 5

    assert desk.keep() == ["e0", "e2", "e3"]


def test_the_receipt_says_why_each_was_left_out() -> None:
    desk = Desk()
    desk.fails(1, "connect", 2)
    for endpoint in desk.endpoints:
        endpoint.inflight_requests = 5
    arrive(desk).inflight_requests = 5
    pick = Profile("test", filters=(desk.step,), picker=MaxScorePicker()).run(desk.query(), desk.endpoints)

    assert pick is not None
    assert {row["name"]: row["reason"] for row in pick.explain() if row["excluded"]} == {
        "e1": "health-filter: ejected, it refuses or drops connections",
        "new": "health-filter: warming up",
    }


def test_who_asked_to_hear_of_ejections_does() -> None:
    desk, heard = Desk(), []
    desk.step.on_eject = lambda endpoint, fault, why: heard.append((endpoint.name, fault, why))
    desk.fails(1, "unavailable", 9)

    assert heard == [("e1", "unavailable", "it answers 502, 503 or 504")]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"eject_seconds": 0.0}, "eject_seconds must be above 0"),
        ({"eject_seconds": 9.0, "eject_seconds_max": 8.0}, "eject_seconds_max must be at least"),
        ({"ejected_share_max": 1.0}, "ejected_share_max must be from 0"),
        ({"slow_start_seconds": -1.0}, "slow_start_seconds must not be negative"),
    ],
)
def test_wrong_parameters_are_refused_by_name(parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HealthFilter(**parameters)


class Machine(RuleBasedStateMachine):
    """Requests that go well and badly, endpoints that come and go, time that passes, in any order."""

    @initialize(count=st.integers(1, 8), share=st.sampled_from([0.0, 0.34, 0.5, 0.9]), seed=st.integers(0, 999))
    def start(self, count: int, share: float, seed: int) -> None:
        self.desk = Desk(count, ejected_share_max=share)
        self.desk.rng = Random(seed)
        self.open: list[tuple[Query, Endpoint]] = []

    @rule()
    def send(self) -> None:
        asked = self.desk.query()
        kept = self.desk.step.keep(asked, self.desk.endpoints)
        endpoint = self.desk.rng.choice(kept)
        endpoint.inflight_requests += 1
        self.open.append((asked, endpoint))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 10**6), fault=st.sampled_from([None, None, *FAULTS]), whole=st.booleans())
    def end(self, which: int, fault: Fault | None, whole: bool) -> None:
        asked, endpoint = self.open.pop(which % len(self.open))
        endpoint.inflight_requests -= 1
        took = self.desk.now - asked.now
        self.desk.step.ended(asked, endpoint, Answer(took, status=503 if fault else 200, whole=whole, fault=fault))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 10**6))
    def move(self, which: int) -> None:
        asked, picked = self.open.pop(which % len(self.open))
        served = self.desk.rng.choice(self.desk.endpoints)
        picked.inflight_requests -= 1
        served.inflight_requests += 1
        self.desk.step.moved(asked, picked, served)
        self.open.append((asked, served))

    @rule(seconds=st.sampled_from([0.01, 0.5, 3.0, 20.0, 500.0]))
    def wait(self, seconds: float) -> None:
        self.desk.now += seconds

    @rule()
    def scale_up(self) -> None:
        arrive(self.desk)

    @precondition(lambda self: len(self.desk.endpoints) > 1)
    @rule(which=st.integers(0, 100))
    def scale_down(self, which: int) -> None:
        self.desk.endpoints.pop(which % len(self.desk.endpoints))
        self.desk.step.relisted(self.desk.endpoints)

    @invariant()
    def some_are_always_kept_and_never_fewer_than_the_share(self) -> None:
        endpoints, now = self.desk.endpoints, self.desk.now
        kept = self.desk.step.keep(self.desk.query(), endpoints)
        assert kept
        assert kept == [e for e in endpoints if e in kept]
        ejected = [e for e in endpoints if e.ejected_until > now]
        if len(ejected) <= self.desk.step.ejected_share_max * len(endpoints):
            assert not any(e in kept for e in ejected)
            assert all(e in kept for e in endpoints if e.ejected_until <= now and not e.limited)

    @invariant()
    def nobody_is_ejected_for_longer_than_the_longest_time(self) -> None:
        for endpoint in self.desk.endpoints:
            assert endpoint.ejected_until - self.desk.now <= standing.EJECT_S_MAX * (1 + standing.JITTER)
            assert 0 <= standing.of(endpoint).points < standing.EJECT_POINTS

    def teardown(self) -> None:
        """Whatever happened, after a while of quiet everyone is in good standing."""
        if not hasattr(self, "desk"):
            return
        self.desk.now += standing.EJECT_S_MAX * (1 + standing.JITTER)
        self.desk.keep()
        self.desk.now += standing.SLOW_START_S
        assert self.desk.keep() == [e.name for e in self.desk.endpoints]
        assert not any(e.limited for e in self.desk.endpoints)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40)
