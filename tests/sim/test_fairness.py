"""Jain's index of tenants who ask for unlike amounts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sim.fairness import max_min, of_tenants, served_fairly
from benchmarks.sim.flight import Flight
from benchmarks.sim.statistics import jain
from benchmarks.workloads.workload import Ask

AMOUNTS = st.lists(st.integers(1, 1_000), min_size=1, max_size=12)


def test_max_min_shares_of_a_known_vector() -> None:
    # The textbook's: 10 among demands of 2, 2.6, 4 and 5.
    assert max_min([2, 2.6, 4, 5], 10) == pytest.approx([2, 2.6, 2.7, 2.7])
    assert max_min([5, 1], 4) == pytest.approx([3, 1])
    assert max_min([5, 1], 100) == pytest.approx([5, 1])


@given(AMOUNTS, st.floats(0, 1))
def test_max_min_shares_add_up_and_nobody_gets_more_than_asked_for(demands: list[int], part: float) -> None:
    total = part * sum(demands)
    shares = max_min(demands, total)

    assert sum(shares) == pytest.approx(total)
    assert all(share <= demand + 1e-9 for share, demand in zip(shares, demands, strict=True))
    level = max(shares)
    assert all(
        share == pytest.approx(min(demand, level), abs=1e-6) for share, demand in zip(shares, demands, strict=True)
    )


def test_jains_index_of_known_vectors() -> None:
    # Jain, Chiu, Hawe, DEC-TR-301 (1984): of n users, k that get the same and the rest nothing have k / n.
    assert jain([1, 1, 1, 0, 0]) == pytest.approx(3 / 5)
    assert jain([50, 10, 30]) == pytest.approx(90**2 / (3 * 3500))


def test_who_gets_all_that_was_asked_for_has_a_fair_part_however_much_it_was() -> None:
    assert served_fairly([900, 50, 50], [900, 50, 50]) == pytest.approx(1.0)


def test_a_part_for_everybody_in_proportion_is_not_fair_where_one_asks_for_most() -> None:
    # 50 of the 100 that six ask for: half for everybody is three times as much for one as is fair.
    fair = 50 / 6
    assert max_min([50, 10, 10, 10, 10, 10], 50) == pytest.approx([fair] * 6)
    ratios = [25 / fair, *[5 / fair] * 5]

    assert served_fairly([50, 10, 10, 10, 10, 10], [25, 5, 5, 5, 5, 5]) == pytest.approx(jain(ratios))
    assert served_fairly([50, 10, 10, 10, 10, 10], [fair] * 6) == pytest.approx(1.0)


def test_of_requests_tokens_of_those_count_that_were_in_time() -> None:
    def flight(tenant: str, tokens: int) -> Flight:
        return Flight(0, Ask(tokens, 10, (1,), tenant=tenant), "standard", 0.0)

    flights = [flight("a", 90), flight("a", 190), flight("b", 90), flight("b", 90)]

    # 100 of 300 for a, 100 of 200 for b: both had half of what was served.
    assert of_tenants(flights, [True, False, True, False]) == pytest.approx(1.0)
    assert of_tenants(flights, [True, True, False, False]) == pytest.approx(jain([300 / 150, 0]))
    assert of_tenants(flights, [False] * 4) is None
    assert of_tenants(flights[:2], [True, True]) is None
