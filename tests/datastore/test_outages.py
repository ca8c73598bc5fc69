"""Retry-After: longer the longer it has lasted, from the start again after a quiet time."""

from __future__ import annotations

import pytest

from epp.datastore.outages import QUIET_S, WAIT_S_MAX, Outages
from epp.domain import Reason


def test_the_wait_grows_with_what_has_passed_and_has_a_bound() -> None:
    outages = Outages()
    waits = [outages.wait(Reason.NO_ENDPOINTS, float(now)) for now in (0, 1, 2, 5, 9, 12, 20, 40, 60, 90)]

    assert waits == [1, 1, 2, 5, 9, 12, 20, WAIT_S_MAX, WAIT_S_MAX, WAIT_S_MAX]


def test_a_new_episode_starts_small() -> None:
    outages = Outages()
    for now in range(8):
        outages.wait(Reason.SATURATED, float(now))

    assert outages.wait(Reason.SATURATED, 30.0) == 1


@pytest.mark.parametrize(("quiet_s", "told"), [(QUIET_S, 5), (QUIET_S + 0.001, 1)])
def test_an_episode_is_over_when_it_was_quiet_for_longer(quiet_s: float, told: int) -> None:
    outages = Outages()
    outages.wait(Reason.SATURATED, 0.0)

    assert outages.wait(Reason.SATURATED, quiet_s) == told


def test_who_waits_as_told_and_is_refused_again_belongs_to_the_same_episode() -> None:
    outages = Outages()
    now, told = 0.0, []
    for _ in range(8):
        wait = outages.wait(Reason.NO_ENDPOINTS, now)
        assert wait is not None
        told.append(wait)
        now += wait

    assert told == [1, 1, 2, 4, 8, 16, 30, 30]


def test_reasons_do_not_mix_and_some_are_not_helped_by_waiting() -> None:
    outages = Outages()
    for now in range(20):
        outages.wait(Reason.NO_ENDPOINTS, float(now))

    assert outages.wait(Reason.SATURATED, 20.0) == 1
    assert outages.wait(Reason.MODEL_NOT_FOUND, 20.0) is None
