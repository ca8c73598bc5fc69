"""Workloads in steps, and with tenants."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from benchmarks.workloads.catalogue import NOISY
from benchmarks.workloads.multi_turn import multi_turn
from benchmarks.workloads.stepped import Phase, Stepped
from benchmarks.workloads.tenants import Tenanted
from tests.sim import make

STEP = Stepped(make.CHAT, (Phase(10.0, 0.5), Phase(5.0, 3.0), Phase(20.0, 0.5)))


def test_each_phase_has_its_rate() -> None:
    found = STEP.arrivals(40.0, Random(1))
    per_second = [
        sum(begin <= arrival.at < end for arrival in found) / (end - begin)
        for begin, end in ((0, 10), (10, 15), (15, 33))
    ]

    assert len(found) == 40 * 30
    assert per_second == [pytest.approx(rate, rel=0.15) for rate in (20, 120, 20)]
    assert all(a.at <= b.at for a, b in pairwise(found))


def test_the_requests_are_those_of_the_workload_in_their_order() -> None:
    assert [a.ask for a in STEP.arrivals(40.0, Random(1))] == [
        a.ask for a in make.CHAT.arrivals(40.0, Random(1), 1_200)
    ]


def test_time_is_continuous_where_the_rate_changes() -> None:
    # Ten seconds at half are five even ones; five at three times are fifteen.
    assert [STEP.second(even) for even in (0.0, 5.0, 20.0, 21.0)] == pytest.approx([0.0, 10.0, 15.0, 17.0])


def test_half_of_what_is_before_the_step_is_warm_up() -> None:
    found = STEP.arrivals(40.0, Random(1))

    assert STEP.shape.warm_up * len(found) == pytest.approx(sum(arrival.at < 5.0 for arrival in found), rel=0.15)


def test_sessions_cannot_be_hurried() -> None:
    with pytest.raises(ValueError, match="turns that wait for answers"):
        Stepped(multi_turn(), STEP.phases).arrivals(10.0, Random(0))


def test_tenants_have_their_shares_and_change_nothing_else() -> None:
    found = Tenanted(make.CHAT, NOISY).arrivals(40.0, Random(1), 2_000)
    sent = Counter(arrival.ask.tenant for arrival in found)

    assert len(sent) == 20
    assert sent["tenant-00"] == pytest.approx(1_000, rel=0.1)
    assert found == Tenanted(make.CHAT, NOISY).arrivals(40.0, Random(1), 2_000)


def test_a_workload_keeps_tenants_of_its_own() -> None:
    mine = Tenanted(make.CHAT, (("mine", 1.0),))

    assert {a.ask.tenant for a in Tenanted(mine, NOISY).arrivals(40.0, Random(1), 50)} == {"mine"}
    assert len({make.CHAT.identity, mine.identity, Tenanted(mine, NOISY).identity, STEP.identity}) == 4
