"""A decision made again of what was recorded; tests/replay has whole replays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from semantic.again import Recorded, Silent, check_again, choose_again
from semantic.asked import Asked
from semantic.config import read_config
from semantic.judges.known import Category
from semantic.router import SemanticRouter
from semantic.rules import NO, Facts, yes
from semantic.signals.api import DOMAIN, SAFETY, Answer
from semantic.watch import ABOUT, HISTORY, LAST
from tests.semantic.fakes import EVERYTHING, answer
from tests.semantic.stage import FILE, GUARDS, RECIPES, edited

SIGNALS = yaml.safe_load(FILE)["routing"]["signals"]
ATTACK, MAIL = ("jailbreak", "attack"), ("pii", "mail")
JUDGED: Facts = dict.fromkeys((("keyword", "urgent"), ("keyword", "stop"), ATTACK, MAIL), NO)
ATTACKS, SAFE = answer("jailbreak", rest="benign"), answer("benign", rest="jailbreak")
ASKED = Asked(model="auto")


def silent(text: str = FILE) -> SemanticRouter:
    return SemanticRouter(read_config(text, provides=EVERYTHING), Silent())


def seen(**heads: Mapping[str, Answer]) -> dict[str, Mapping[str, Answer]]:
    return {ABOUT: {}, LAST: {}, HISTORY: {}, **heads}


def maths(**more: Any) -> Recorded:
    return Recorded(ASKED, JUDGED, {ABOUT: {DOMAIN: answer("math")}, **more})


def test_what_a_decision_forbids_is_in_the_choice() -> None:
    decisions = yaml.safe_load(FILE)["routing"]["decisions"]
    forbids = [{**one, "never_degrade": one["name"] == "maths"} for one in decisions]
    choice = choose_again(silent(edited(decisions=forbids)), maths()).choice
    plain = choose_again(silent(), maths()).choice
    nothing = choose_again(silent(edited(decisions=forbids[:1])), maths()).choice

    assert choice is not None
    assert plain is not None
    assert nothing is not None
    assert (choice.decision, choice.never_degrade) == ("maths", True)
    assert (plain.decision, plain.never_degrade) == ("maths", False)
    assert (nothing.decision, nothing.never_degrade, nothing.models) == (None, False, ("big",))


def test_a_virtual_model_goes_by_its_recipe_and_no_name_by_the_usual_one() -> None:
    router = silent(edited(**RECIPES))
    secret = {**JUDGED, ("keyword", "secret"): yes()}
    heads = {ABOUT: {DOMAIN: answer("math")}}
    named, unnamed = (
        choose_again(router, Recorded(Asked(model=model), secret, heads)).choice for model in ("vllm-sr/private", None)
    )

    assert named is not None
    assert unnamed is not None
    assert (named.decision, unnamed.decision) == ("kept", "maths")


@pytest.mark.parametrize(
    ("now", "before", "category"),
    [
        (answer("law"), None, "law"),
        (answer("law"), "math", "law"),  # sure of this turn
        (answer("law", 0.3), None, "other"),
        (answer("law", 0.3), "math", "math"),  # not sure: the conversation was about something
        (answer("law", 0.3), "law", "other"),  # it was this turn itself, and by this file it is not sure
    ],
)
def test_an_unsure_turn_keeps_the_category_that_was_acted_on_if_that_was_another(
    now: Answer, before: str | None, category: str
) -> None:
    recorded = Recorded(ASKED, JUDGED, {ABOUT: {DOMAIN: now}}, Category(before, 0.9) if before else None)
    choice = choose_again(silent(), recorded).choice

    assert choice is not None
    assert choice.category == category


@pytest.mark.parametrize("again", [choose_again, check_again])
@pytest.mark.parametrize(
    ("heads", "refusal"),
    [
        (seen(last={SAFETY: ATTACKS}), "guard_jailbreak"),
        (seen(last={SAFETY: SAFE}), None),
        (seen(history={SAFETY: ATTACKS}), None),
    ],
)
def test_a_guard_judges_anew_by_the_text_that_it_looks_at(again: Any, heads: Any, refusal: str | None) -> None:
    router = silent(edited(onehop={"guards": GUARDS[:1]}))
    choice = again(router, Recorded(ASKED, JUDGED, {**heads, ABOUT: {DOMAIN: answer("math")}})).choice

    assert choice is not None
    assert choice.refusal == refusal
    assert choice.guard == ("jailbreak:attack" if refusal else None)


@pytest.mark.parametrize(("where", "refusal"), [("history", "guard_jailbreak"), ("last", None)])
def test_one_that_looks_at_the_history_judges_by_that(where: str, refusal: str | None) -> None:
    with_history = {**SIGNALS, "jailbreak": [{"name": "attack", "include_history": True}]}
    router = silent(edited(signals=with_history, onehop={"guards": GUARDS[:1]}))
    choice = check_again(router, Recorded(ASKED, JUDGED, seen(**{where: {SAFETY: ATTACKS}}))).choice

    assert choice is not None
    assert choice.refusal == refusal


@pytest.mark.parametrize("again", [choose_again, check_again])
def test_a_guard_that_blocks_and_was_not_judged_is_lacking_and_one_that_observes_is_not(again: Any) -> None:
    unjudged = {key: verdict for key, verdict in JUDGED.items() if key not in (ATTACK, MAIL)}
    heads = {ABOUT: {DOMAIN: answer("math")}}
    guards = [GUARDS[0], {"type": "pii", "name": "mail", "action": "observe"}]
    found = again(silent(edited(onehop={"guards": guards})), Recorded(ASKED, unjudged, heads))
    observed = again(silent(), Recorded(ASKED, unjudged, heads))

    assert (found.choice, found.lacking) == (None, ("jailbreak:attack",))
    assert observed.lacking == ()
    assert observed.choice is not None
    assert observed.choice.refusal is None


def test_a_fast_response_is_the_answer_again() -> None:
    choice = choose_again(silent(), Recorded(ASKED, {**JUDGED, ("keyword", "stop"): yes()}, {})).choice

    assert choice is not None
    assert (choice.decision, choice.answer, choice.candidates) == ("blocked", "No.", ())
