"""When requests leave a busy model, when they do not, and that they do not flap."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from random import Random

import pytest

from epp.domain import SpillReason
from epp.scheduling import spill as module
from epp.scheduling.spill import CALM_S, SESSION_IDLE_S, WINDOW_S, Option, Spill, SpillRules, Verdict

RULES = SpillRules(wait_s=1.0, share_max=1.0)
IDLE, BUSY = Option("big", 0.0, 0.2), Option("big", 4.0, 4.2)
OTHER = Option("small", 0.0, 0.1)


def judge(
    spill: Spill, preferred: Option, *others: Option, now: float = 0.0, session: Hashable | None = None
) -> Verdict:
    spill.asked(preferred.model, now)
    return spill.judge(preferred, iter(others), lambda: session, now)


def taken(spill: Spill, preferred: Option, *others: Option, **more: float | str) -> str | None:
    return judge(spill, preferred, *others, **more).option.model  # type: ignore[arg-type]


def test_a_wait_below_the_bound_trades_no_quality() -> None:
    assert judge(Spill(RULES), Option("big", 0.99, 5.0), OTHER) == Verdict(Option("big", 0.99, 5.0))


def test_a_wait_beyond_the_bound_goes_to_the_next_model_that_is_quicker() -> None:
    slow, quick, quickest = Option("slow", 4.0, 4.5), Option("quick", 0.5, 1.0), Option("best", 0.0, 0.1)

    assert judge(Spill(RULES), BUSY, slow, quick, quickest) == Verdict(quick, SpillReason.WAIT)


@pytest.mark.parametrize(
    ("preferred", "rules"),
    [
        (Option("big", None, 4.0), RULES),
        (Option("big", 4.0, None), RULES),
        (BUSY, SpillRules(wait_s=0.0)),
    ],
)
def test_without_a_prediction_or_a_bound_nothing_spills(preferred: Option, rules: SpillRules) -> None:
    assert judge(Spill(rules), preferred, OTHER) == Verdict(preferred)


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ([], SpillReason.HELD_NO_OTHER),
        ([Option("small", 3.0, 3.5)], SpillReason.HELD_NO_GAIN),
        ([Option("small", 0.0, None)], SpillReason.HELD_NO_GAIN),
    ],
)
def test_what_holds_a_request_back_is_said(others: list[Option], reason: SpillReason) -> None:
    verdict = judge(Spill(RULES), BUSY, *others)

    assert (verdict.option, verdict.reason) == (BUSY, reason)


def test_the_other_models_are_not_looked_at_while_nothing_waits() -> None:
    def asked_for() -> Iterator[Option]:
        raise AssertionError("looked at")
        yield OTHER

    def who() -> Hashable:
        raise AssertionError("looked at")

    assert Spill(RULES).judge(IDLE, asked_for(), who, 0.0) == Verdict(IDLE)


def test_a_share_of_the_requests_stays_however_long_they_wait() -> None:
    spill = Spill(SpillRules(wait_s=1.0, share_max=0.4))
    verdicts = [judge(spill, BUSY, OTHER, now=n / 10) for n in range(200)]

    assert sum(v.reason is SpillReason.WAIT for v in verdicts) == 80
    assert sum(v.reason is SpillReason.HELD_SHARE for v in verdicts) == 120
    assert all(v.best == OTHER for v in verdicts if v.reason is SpillReason.HELD_SHARE)


def test_the_share_is_that_of_the_last_window() -> None:
    spill = Spill(SpillRules(wait_s=1.0, share_max=0.5))
    for n in range(100):
        judge(spill, IDLE, OTHER, now=n / 10)
    at_once = [taken(spill, BUSY, OTHER, now=10.0) for _ in range(20)]
    later = [taken(spill, BUSY, OTHER, now=10.0 + WINDOW_S + n) for n in range(20)]

    assert at_once == ["small"] * 20
    assert later.count("small") == 10


@pytest.mark.parametrize("seed", range(20))
def test_at_any_moment_no_more_than_the_share_has_left(seed: int) -> None:
    rng, spill = Random(seed), Spill(SpillRules(wait_s=1.0, share_max=0.3))
    asked: list[tuple[float, bool]] = []
    now = 0.0
    for _ in range(2000):
        now += rng.expovariate(5.0)
        wait = rng.choice([0.0, 0.5, 2.0, 9.0])
        verdict = judge(spill, Option("big", wait, wait + 0.2), OTHER, now=now)
        asked.append((now, verdict.option is OTHER))
        recent = [left for at, left in asked if now - at < WINDOW_S]

        assert sum(recent) <= 0.33 * len(recent) + 1, "a slot of the window is a thirtieth of it"
    assert any(left for _, left in asked)


def test_a_wait_around_the_bound_does_not_flap() -> None:
    """It goes on leaving below the bound, until the wait has been well below it for a while."""
    spill = Spill(RULES)
    judge(spill, BUSY, OTHER, now=0.0)
    below = [taken(spill, Option("big", 0.8, 1.0), OTHER, now=n) for n in range(1, 4)]
    calm = [taken(spill, Option("big", 0.5, 0.7), OTHER, now=4.0 + n) for n in range(7)]

    assert below == ["small"] * 3
    assert calm == ["small"] * int(CALM_S) + ["big"] * 2


def test_one_longer_wait_starts_the_calm_anew() -> None:
    spill = Spill(RULES)
    judge(spill, BUSY, OTHER, now=0.0)
    judge(spill, Option("big", 0.5, 0.7), OTHER, now=1.0)
    judge(spill, Option("big", 0.7, 0.9), OTHER, now=5.0)
    judge(spill, Option("big", 0.5, 0.7), OTHER, now=5.5)

    assert taken(spill, Option("big", 0.5, 0.7), OTHER, now=6.5) == "small"
    assert taken(spill, Option("big", 0.5, 0.7), OTHER, now=10.5) == "big"


def test_while_calming_down_what_stays_is_not_called_held_back() -> None:
    spill = Spill(RULES)
    judge(spill, BUSY, OTHER, now=0.0)

    assert judge(spill, Option("big", 0.1, 0.1), OTHER, now=1.0).reason is None


def test_a_session_stays_where_its_cache_is_after_the_rush() -> None:
    spill = Spill(RULES)
    assert taken(spill, BUSY, OTHER, session="s", now=0.0) == "small"
    for n in range(1, 20):
        judge(spill, IDLE, OTHER, now=n)
    warm = Option("small", 0.0, 0.1, cached=500)

    assert judge(spill, IDLE, warm, now=20.0, session="s") == Verdict(warm, SpillReason.SESSION)
    assert taken(spill, IDLE, warm, now=20.0, session="another") == "big"


def test_it_goes_home_when_its_cache_is_gone_or_worth_less_than_the_time() -> None:
    for found in (Option("small", 0.0, 0.1, cached=0), Option("small", 3.0, 3.1, cached=500)):
        spill = Spill(RULES)
        judge(spill, BUSY, OTHER, session="s", now=0.0)
        for n in range(1, 20):
            judge(spill, IDLE, OTHER, now=n)

        assert taken(spill, IDLE, found, now=20.0, session="s") == "big"
        assert taken(spill, IDLE, Option("small", 0.0, 0.1, cached=500), now=20.0, session="s") == "big"


def test_a_session_that_wants_another_model_now_is_free_to_go_there() -> None:
    spill = Spill(RULES)
    judge(spill, BUSY, OTHER, session="s")
    warm = Option("small", 0.0, 0.1, cached=500)

    assert taken(spill, Option("maths", 0.0, 0.2), warm, session="s") == "maths"


def test_a_session_that_was_idle_for_long_is_forgotten() -> None:
    spill = Spill(RULES)
    judge(spill, BUSY, OTHER, session="s")
    for n in range(1, 20):
        judge(spill, IDLE, OTHER, now=n)
    warm = Option("small", 0.0, 0.1, cached=500)

    assert taken(spill, IDLE, warm, session="s", now=SESSION_IDLE_S + 0.1) == "big"


def test_sessions_are_remembered_up_to_a_bound_the_oldest_first_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    spill = Spill(RULES)
    for name in ("a", "b", "c"):
        judge(spill, BUSY, OTHER, session=name)
    for n in range(1, 20):
        judge(spill, IDLE, OTHER, now=n)
    warm = Option("small", 0.0, 0.1, cached=500)

    assert [taken(spill, IDLE, warm, session=name, now=20.0) for name in "abc"] == ["big", "small", "small"]


def test_each_session_is_forgotten_in_its_own_time() -> None:
    spill = Spill(RULES)
    judge(spill, BUSY, OTHER, session="old", now=0.0)
    judge(spill, BUSY, OTHER, session="young", now=SESSION_IDLE_S / 2)
    for n in range(1, 20):
        judge(spill, IDLE, OTHER, now=SESSION_IDLE_S / 2 + n)
    warm, now = Option("small", 0.0, 0.1, cached=500), SESSION_IDLE_S + 1

    assert taken(spill, IDLE, warm, session="young", now=now) == "small"
    assert taken(spill, IDLE, warm, session="old", now=now) == "big"


def test_a_session_that_comes_again_is_not_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS_MAX", 2)
    spill = Spill(RULES)
    for name in ("a", "b", "a", "c"):
        judge(spill, BUSY, OTHER, session=name)
    for n in range(1, 20):
        judge(spill, IDLE, OTHER, now=n)
    warm = Option("small", 0.0, 0.1, cached=500)

    assert [taken(spill, IDLE, warm, session=name, now=20.0) for name in "abc"] == ["small", "big", "small"]


def test_the_window_slides() -> None:
    """What came in it a while ago goes slot by slot, not all at once."""
    spill = Spill(SpillRules(wait_s=1.0, share_max=0.5))
    for n in range(int(WINDOW_S)):
        judge(spill, IDLE, OTHER, now=n)
    at_once = [taken(spill, BUSY, OTHER, now=WINDOW_S + 1) for _ in range(10)]

    assert at_once == ["small"] * 10


def test_a_wait_just_beyond_the_bound_is_too_long() -> None:
    assert taken(Spill(RULES), Option("big", 1.01, 1.2), OTHER) == "small"


def test_models_are_judged_each_by_its_own_wait() -> None:
    spill = Spill(RULES)
    judge(spill, BUSY, OTHER)

    assert taken(spill, Option("law", 0.5, 0.6), OTHER) == "law"


@pytest.mark.parametrize(
    "wrong", [{"wait_s": -1.0}, {"share_max": 1.1}, {"share_max": -0.1}, {"margin_max": 2.0}, {"margin_max": -1.0}]
)
def test_rules_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpillRules(**wrong)
