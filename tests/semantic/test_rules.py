"""Rule trees in three-valued logic, and which decision wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic.plan import ModelRef
from semantic.rules import (
    NO,
    UNKNOWN,
    AllOf,
    AnyOf,
    Bounds,
    Decision,
    Facts,
    Given,
    Holds,
    Not,
    Otherwise,
    Rule,
    Scores,
    Truth,
    Unsupported,
    Verdict,
    bare,
    decide,
    leaves,
    scores_in,
    settled,
    yes,
)

MATH = Holds("domain", "math")
LAW = Holds("domain", "law")
LONG = Holds("context", "long")
RISKY = Scores("classifier", "tools", "RISKY", Bounds(gte=0.5))
KEYWORD = Unsupported("keyword", "urgent")
SURE: Facts = {
    ("domain", "math"): yes(0.8),
    ("domain", "law"): NO,
    ("context", "long"): UNKNOWN,
    ("classifier", "tools"): Verdict(Truth.NO, 0.0, {"RISKY": 0.6, "SAFE": 0.4}),
}
NOBODY_KNOWS: Facts = {}


@pytest.mark.parametrize(
    ("rule", "facts", "truth", "confidence"),
    [
        (MATH, SURE, Truth.YES, 0.8),
        (LAW, SURE, Truth.NO, 0.0),
        (MATH, NOBODY_KNOWS, Truth.UNKNOWN, 0.0),
        (KEYWORD, SURE, Truth.UNKNOWN, 0.0),
        (Not(LAW), SURE, Truth.YES, 1.0),
        (Not(MATH), SURE, Truth.NO, 0.0),
        (Not(LAW), NOBODY_KNOWS, Truth.UNKNOWN, 0.0),
        (Not(LONG), SURE, Truth.UNKNOWN, 0.0),
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
        (RISKY, SURE, Truth.YES, 0.6),
        (RISKY, NOBODY_KNOWS, Truth.UNKNOWN, 0.0),
        (Scores("classifier", "tools", "OTHER", Bounds(gte=0.5)), SURE, Truth.UNKNOWN, 0.0),
        (Otherwise(LONG, Truth.NO), SURE, Truth.NO, 0.0),
        (Not(Otherwise(LONG, Truth.NO)), SURE, Truth.YES, 1.0),
        (Otherwise(MATH, Truth.NO), SURE, Truth.YES, 0.8),
        (Given(Not(LAW), MATH), SURE, Truth.YES, 0.8),
        (Given(LAW, MATH), SURE, Truth.NO, 0.0),
        (Given(LONG, MATH), SURE, Truth.UNKNOWN, 0.0),
        (Given(LONG, LAW), SURE, Truth.NO, 0.0),
    ],
)
def test_a_rule_judges(rule: Rule, facts: Facts, truth: Truth, confidence: float) -> None:
    verdict = rule.judge(facts)

    assert verdict.truth is truth
    assert verdict.confidence == pytest.approx(confidence)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (Bounds(gt=1), 1.1, 1.0),
        (Bounds(gte=1), 1.0, 0.9),
        (Bounds(lt=1), 0.9, 1.0),
        (Bounds(lte=1), 1.0, 1.1),
        (Bounds(gt=1, lte=3), 3.0, 3.1),
    ],
)
def test_bounds(bounds: Bounds, inside: float, outside: float) -> None:
    assert bounds.hold(inside)
    assert not bounds.hold(outside)


MATH_OR_LONG = AnyOf((MATH, LONG))


def winner(*decisions: Decision, facts: Facts = SURE, strategy: str = "priority") -> str | None:
    match = decide(decisions, facts, "confidence" if strategy == "confidence" else "priority")
    return match.decision.name if match else None


def a(name: str, rule: Rule = MATH, priority: int = 0, tier: int = 0) -> Decision:
    return Decision(name, rule, (ModelRef("m"),), priority, tier)


def test_the_higher_priority_wins() -> None:
    assert winner(a("low", priority=1), a("high", priority=2)) == "high"


def test_at_equal_priority_the_surer_wins_then_the_name() -> None:
    assert winner(a("b"), a("c", Not(LAW)), a("a")) == "c"
    assert winner(a("b"), a("a")) == "a"


def test_without_tiers_priority_comes_before_confidence() -> None:
    assert winner(a("high", priority=2), a("sure", Not(LAW), priority=1)) == "high"


def test_the_confidence_strategy_puts_confidence_first() -> None:
    assert winner(a("high", priority=9), a("sure", Not(LAW)), strategy="confidence") == "sure"


def test_tiers_come_before_everything() -> None:
    assert winner(a("second", Not(LAW), priority=9, tier=2), a("first", tier=1)) == "first"
    assert winner(a("second", Not(LAW), priority=9, tier=1), a("first", tier=0)) == "first"


def test_no_rule_that_holds_no_decision() -> None:
    assert winner(a("law", LAW)) is None
    assert winner(a("math"), a("not law", Not(LAW)), facts=NOBODY_KNOWS) is None


def test_a_catch_all_holds_even_when_nothing_is_known() -> None:
    assert winner(a("math"), a("rest", AllOf()), facts=NOBODY_KNOWS) == "rest"


def test_leaves_are_every_signal_a_tree_asks_for() -> None:
    tree = AllOf((AnyOf((MATH, Not(LAW))), Given(LONG, RISKY), Otherwise(KEYWORD, Truth.NO)))

    assert set(leaves(tree)) == {MATH_KEY, ("domain", "law"), LONG_KEY, ("classifier", "tools"), ("keyword", "urgent")}


def test_conditions_on_labels_are_found_wherever_they_stand() -> None:
    one, two, three, four = (Scores("classifier", "tools", f"LABEL-{n}", Bounds(gte=0.5)) for n in range(4))
    tree = AllOf((AnyOf((MATH, Not(one))), Given(two, three), Otherwise(AllOf((four,)), Truth.NO)))

    assert list(scores_in(tree)) == [one, two, three, four]


@pytest.mark.parametrize(
    ("decisions", "strategy", "done"),
    [
        pytest.param([a("math"), a("long", LONG)], "priority", False, id="an equal may be surer"),
        pytest.param([a("math", priority=1), a("long", LONG)], "priority", True, id="a lower one cannot win"),
        pytest.param([a("math"), a("long", LONG, priority=1)], "priority", False, id="a higher one may win"),
        pytest.param([a("math", priority=1), a("long", LONG)], "confidence", False, id="it may be surer"),
        pytest.param([a("math", tier=1), a("long", LONG, tier=2)], "priority", True, id="a later tier"),
        pytest.param([a("math", tier=1), a("long", LONG, tier=2)], "confidence", True, id="so, too, by confidence"),
        pytest.param([a("math", tier=1), a("long", LONG, 9, tier=2)], "priority", True, id="whatever its priority"),
        pytest.param([a("math", tier=1), a("long", LONG, tier=0)], "priority", False, id="an earlier tier"),
        pytest.param([a("law", LAW), a("long", LONG)], "priority", False, id="nothing holds yet"),
        pytest.param([a("math"), a("law", LAW)], "confidence", True, id="nothing is open"),
        pytest.param([a("long", LONG, 9, tier=1), a("math")], "priority", True, id="no tier is the first of tiers"),
        pytest.param([a("math"), a("or", MATH_OR_LONG)], "priority", False, id="what holds may become surer"),
        pytest.param([a("or", MATH_OR_LONG), a("law", LAW)], "priority", True, id="it wins whatever it becomes"),
        pytest.param([a("b"), a("a"), a("long", LONG, -1)], "priority", True, id="equals that both are known"),
    ],
)
def test_what_is_settled_without_knowing_the_rest(decisions: list[Decision], strategy: str, done: bool) -> None:
    facts = {key: verdict for key, verdict in SURE.items() if key != LONG_KEY}

    assert settled(decisions, facts, "confidence" if strategy == "confidence" else "priority") is done


MATH_KEY, LONG_KEY = ("domain", "math"), ("context", "long")
KEYS = [MATH_KEY, LONG_KEY, ("domain", "law")]
TRUTHS = st.sampled_from([yes(0.7), NO, UNKNOWN])
RULES = st.recursive(
    st.sampled_from([Holds(*key) for key in KEYS]),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(lambda *c: AnyOf(c), inner, inner),
        st.builds(lambda *c: AllOf(c), inner, inner),
        st.builds(Otherwise, inner, st.sampled_from([Truth.YES, Truth.NO])),
    ),
    max_leaves=5,
)
DECISIONS = st.lists(st.tuples(RULES, st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=4).map(
    lambda rows: [a(f"d{n}", rule, priority, tier) for n, (rule, priority, tier) in enumerate(rows)]
)


@given(DECISIONS, st.fixed_dictionaries(dict.fromkeys(KEYS, TRUTHS)), st.sampled_from(["priority", "confidence"]))
def test_what_is_settled_does_not_change_whatever_the_unknown_turns_out_to_be(
    decisions: list[Decision], facts: dict[tuple[str, str], Verdict], strategy: str
) -> None:
    if not settled(bare(decisions), facts, "confidence" if strategy == "confidence" else "priority"):
        return
    before = winner(*decisions, facts=facts, strategy=strategy)
    unknown = [key for key, verdict in facts.items() if verdict is UNKNOWN]
    for bits in range(2 ** len(unknown)):
        known = {key: yes(0.9) if bits >> n & 1 else NO for n, key in enumerate(unknown)}

        assert winner(*decisions, facts={**facts, **known}, strategy=strategy) == before
