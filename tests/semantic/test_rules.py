"""Rule trees in three-valued logic, and which decision wins."""

import pytest

from semantic.rules import AllOf, AnyOf, Decision, Domain, Not, Rule, Signals, Truth, Unsupported, decide, settle

MATH = Domain("math", frozenset({"math"}))
SCIENCE = Domain("science", frozenset({"math", "physics"}))
LAW = Domain("law", frozenset({"law"}))
KEYWORD = Unsupported("keyword", "urgent")
SURE = Signals("math", 0.8)
NOBODY_KNOWS = Signals(None)


@pytest.mark.parametrize(
    ("rule", "signals", "truth", "confidence"),
    [
        (MATH, SURE, Truth.YES, 0.8),
        (SCIENCE, SURE, Truth.YES, 0.8),
        (LAW, SURE, Truth.NO, 0.0),
        (MATH, NOBODY_KNOWS, Truth.UNKNOWN, 0.0),
        (KEYWORD, SURE, Truth.UNKNOWN, 0.0),
        (Not(LAW), SURE, Truth.YES, 1.0),
        (Not(MATH), SURE, Truth.NO, 0.0),
        (Not(LAW), NOBODY_KNOWS, Truth.UNKNOWN, 0.0),
        (AnyOf((LAW, MATH)), SURE, Truth.YES, 0.8),
        (AnyOf((MATH, Not(LAW))), SURE, Truth.YES, 1.0),
        (AnyOf((KEYWORD, MATH)), SURE, Truth.YES, 0.8),
        (AnyOf((KEYWORD, LAW)), SURE, Truth.UNKNOWN, 0.0),
        (AnyOf(()), SURE, Truth.NO, 0.0),
        (AllOf((MATH, Not(LAW))), SURE, Truth.YES, 0.9),
        (AllOf((MATH, LAW)), SURE, Truth.NO, 0.0),
        (AllOf((KEYWORD, LAW)), SURE, Truth.NO, 0.0),
        (AllOf((KEYWORD, MATH)), SURE, Truth.UNKNOWN, 0.0),
        (AllOf(()), NOBODY_KNOWS, Truth.YES, 0.0),
    ],
)
def test_a_rule_judges(rule: Rule, signals: Signals, truth: Truth, confidence: float) -> None:
    verdict = rule.judge(signals)

    assert verdict.truth is truth
    assert verdict.confidence == pytest.approx(confidence)


def winner(*decisions: Decision, signals: Signals = SURE, strategy: str = "priority") -> str | None:
    match = decide(decisions, signals, "confidence" if strategy == "confidence" else "priority")
    return match.decision.name if match else None


def a(name: str, rule: Rule = MATH, priority: int = 0, tier: int = 0) -> Decision:
    return Decision(name, rule, ("m",), priority, tier)


def test_the_higher_priority_wins() -> None:
    assert winner(a("low", priority=1), a("high", priority=2)) == "high"


def test_at_equal_priority_the_surer_wins_then_the_name() -> None:
    assert winner(a("b"), a("c", Not(LAW)), a("a")) == "c"
    assert winner(a("b"), a("a")) == "a"


def test_the_confidence_strategy_puts_confidence_first() -> None:
    assert winner(a("high", priority=9), a("sure", Not(LAW)), strategy="confidence") == "sure"


def test_tiers_come_before_everything() -> None:
    assert winner(a("second", Not(LAW), priority=9, tier=2), a("first", tier=1)) == "first"


def test_no_rule_that_holds_no_decision() -> None:
    assert winner(a("law", LAW)) is None
    assert winner(a("math"), a("not law", Not(LAW)), signals=NOBODY_KNOWS) is None


def test_a_catch_all_holds_even_when_nothing_is_known() -> None:
    assert winner(a("math"), a("rest", AllOf()), signals=NOBODY_KNOWS) == "rest"


def test_below_the_threshold_the_category_is_other() -> None:
    assert settle("math", 0.39, 0.4) == Signals("other", 0.39)
    assert settle("math", 0.4, 0.4) == Signals("math", 0.4)
