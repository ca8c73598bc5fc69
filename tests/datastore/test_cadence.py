"""How long a model server is left alone, number by number; tests/edge/test_cadence.py plays whole stories."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from epp.datastore.cadence import BACKOFF_S_MAX, GROWTH, IDLE_S_MAX, SLOW_S_MAX, SMOOTHING, Cadence, busy, moves
from epp.domain import Load, Lora
from tests.make import pool

INTERVAL_S = 0.5
IDLE = Load(at=1.0, waiting=0, running=0, kv_usage=0.0, prompt_tokens=1.0, generated_tokens=1.0)


class Middle(Random):
    """Dice without jitter."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def visited(count: int, *, took_s: float = 0.0, learned: bool = True, **more: Any) -> Cadence:
    cadence = Cadence()
    for _ in range(count):
        cadence.visited(IDLE, IDLE, took_s, busy=False, learned=learned, **more)
    return cadence


def rest(cadence: Cadence, interval_s: float = INTERVAL_S) -> tuple[float, float]:
    found = cadence.rest(interval_s, Middle())
    return round(found.least_s, 6), round(found.idle_s, 6)


def test_an_idle_endpoint_has_half_as_long_again_from_visit_to_visit_up_to_a_bound() -> None:
    after = [rest(visited(n)) for n in (2, 3, 4, 5, 50)]

    assert after == [
        (INTERVAL_S, min(INTERVAL_S * GROWTH**2, IDLE_S_MAX)),
        *[(INTERVAL_S, IDLE_S_MAX)] * 4,
    ]


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(2, 1.0), (3, BACKOFF_S_MAX), (4, BACKOFF_S_MAX), (100, BACKOFF_S_MAX), (5000, BACKOFF_S_MAX)],
)
def test_each_failure_in_a_row_doubles_the_pause_up_to_a_bound(count: int, seconds: float) -> None:
    assert rest(visited(count, learned=False)) == (seconds, seconds)


def test_the_first_failure_after_a_success_costs_no_more_than_the_interval_and_a_success_ends_the_row() -> None:
    cadence = visited(3)
    cadence.visited(IDLE, None, 0.0, busy=False, learned=False)
    failed = rest(cadence)
    cadence.visited(None, IDLE, 0.0, busy=False, learned=True)

    assert failed == (INTERVAL_S, INTERVAL_S)
    assert rest(cadence) == (INTERVAL_S, INTERVAL_S)


def test_a_slow_server_has_nine_times_what_it_takes_and_a_bound_of_that() -> None:
    assert rest(visited(200, took_s=0.2)) == (1.8, 1.8)
    assert rest(visited(200, took_s=60.0)) == (SLOW_S_MAX, SLOW_S_MAX)
    assert rest(visited(200, took_s=0.4, learned=False)) == (3.6, 3.6)


def test_what_an_answer_takes_is_smoothed() -> None:
    cadence = visited(1, took_s=1.0)
    once = cadence.took_s
    cadence.visited(IDLE, IDLE, 0.0, busy=False, learned=True)

    assert once == pytest.approx(SMOOTHING)
    assert cadence.took_s == pytest.approx(SMOOTHING * (1 - SMOOTHING))


@pytest.mark.parametrize(
    ("inflight", "load", "expected"),
    [
        (0, None, False),
        (1, None, True),
        (0, IDLE, False),
        (2, IDLE, True),
        (0, replace(IDLE, waiting=1), True),
        (0, replace(IDLE, running=1), True),
        (0, replace(IDLE, waiting=None, running=None), False),
    ],
)
def test_work_is_ours_or_anybodys(inflight: int, load: Load | None, expected: bool) -> None:
    (endpoint,) = pool("a").endpoints
    endpoint.inflight_requests, endpoint.load = inflight, load

    assert busy(endpoint) is expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, False),
        (None, IDLE, True),
        (IDLE, None, True),
        (IDLE, replace(IDLE, at=9.0), False),
        *[(IDLE, replace(IDLE, **{name: 2.0}), True) for name in ("waiting", "running", "kv_usage")],
        *[(IDLE, replace(IDLE, **{name: 2.0}), True) for name in ("prompt_tokens", "generated_tokens")],
        (IDLE, replace(IDLE, lora=Lora(2, frozenset({"a"}))), True),
    ],
)
def test_something_has_happened_where_a_number_that_work_changes_is_another(
    before: Load | None, after: Load | None, expected: bool
) -> None:
    assert moves(before, after) is expected


def test_numbers_that_move_or_work_that_is_there_begin_the_course_anew() -> None:
    moving, working = visited(9), visited(9)
    moving.visited(IDLE, replace(IDLE, prompt_tokens=2.0), 0.0, busy=False, learned=True)
    working.visited(IDLE, IDLE, 0.0, busy=True, learned=True)

    assert rest(moving) == rest(working) == (INTERVAL_S, INTERVAL_S)
