"""When a fleet is said to be well again."""

from __future__ import annotations

import pytest

from benchmarks.shedding.recovery import recovery_s, window_s


def series(*spells: tuple[float, float, float]) -> tuple[list[float], list[bool]]:
    """Ten requests a second; from second to second that fraction of them is good."""
    arrived, good = [], []
    for begin, end, fraction in spells:
        for n in range(round((end - begin) * 10)):
            arrived.append(begin + n / 10)
            good.append((n + 1) * fraction // 1 > n * fraction // 1)
    return arrived, good


def took(*spells: tuple[float, float, float], before: float = 1.0) -> float | None:
    arrived, good = series(*spells)
    return recovery_s(arrived, good, before=before, ended=100.0, until=200.0, window=5.0)


def test_a_fleet_that_never_suffered_takes_no_time() -> None:
    assert took((0, 200, 1.0)) == 0.0


def test_it_is_well_when_the_last_bad_window_has_passed() -> None:
    # Of the window [120, 125) all is good; of [119, 124) a fifth is not.
    assert took((0, 100, 1.0), (100, 120, 0.0), (120, 200, 1.0)) == 20.0


def test_a_good_spell_before_another_bad_one_is_no_recovery() -> None:
    assert took((0, 100, 1.0), (100, 110, 0.0), (110, 130, 1.0), (130, 140, 0.5), (140, 200, 1.0)) == 40.0


def test_it_is_measured_by_how_it_was_before() -> None:
    spells = (0.0, 100.0, 0.8), (100.0, 130.0, 0.2), (130.0, 200.0, 0.8)

    assert took(*spells, before=0.8) == 30.0
    assert took(*spells, before=0.9) is None


def test_within_five_points_is_well_and_beyond_is_not() -> None:
    assert took((0, 200, 0.96)) == 0.0
    assert took((0, 200, 0.9)) is None


def test_what_ends_badly_has_not_recovered() -> None:
    assert took((0, 100, 1.0), (100, 195, 1.0), (195, 200, 0.0)) is None


def test_windows_without_arrivals_say_nothing() -> None:
    assert took((0, 100, 1.0), (100, 110, 0.0), (150, 200, 1.0)) == 10.0


def test_a_time_too_short_for_a_window_says_nothing() -> None:
    assert recovery_s([], [], before=1.0, ended=100.0, until=104.0, window=5.0) is None


@pytest.mark.parametrize(("rate", "seconds"), [(80.0, 5.0), (20.0, 5.0), (4.4, 23.0)])
def test_a_window_has_a_hundred_requests_and_five_seconds(rate: float, seconds: float) -> None:
    assert window_s(rate) == seconds
