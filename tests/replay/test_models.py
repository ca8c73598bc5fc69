"""Another semantic configuration for recorded requests: what it would choose, and what it cannot know."""

from __future__ import annotations

from typing import Any

import yaml

from epp.chooser import SemanticChooser
from epp.replay import recorded
from epp.replay.again import Outcome, again
from semantic.again import Silent
from semantic.config import read_config
from semantic.router import SemanticRouter
from tests import make
from tests.replay.record import Recording, epc
from tests.replay.test_endpoints import made, rules
from tests.semantic.fakes import EVERYTHING, LONG_S, Told
from tests.semantic.stage import FILE, GUARDS, edited, stage

SAID = ("about math", "about law", "about physics", "about nothing", "urgent: about math", "forbidden", "hola math")
MODELS = {"a": ["big", "small", "small-law"], "b": ["big", "small"], "c": ["eyes-7b-instruct"]}
DOCUMENT = yaml.safe_load(FILE)["routing"]


async def recording(router: SemanticRouter | None = None, said: tuple[str, ...] = SAID, **more: Any) -> Recording:
    router = router or stage()
    found = Recording(made(epc()), SemanticChooser(lambda: router, LONG_S), MODELS)
    found.sampled()
    for text in said:
        await found.ask(make.chat("auto", text, **more))
    return found


def silent(text: str) -> SemanticRouter:
    return SemanticRouter(read_config(text, provides=EVERYTHING), Silent())


def decisions(**changed: Any) -> list[Any]:
    """Those of the file, some of them changed by name."""
    return [{**decision, **changed.get(decision["name"], {})} for decision in DOCUMENT["decisions"]]


def by_words(outcomes: list[Outcome]) -> dict[str, Outcome]:
    return dict(zip(SAID, outcomes, strict=True))


async def test_by_the_same_file_nothing_changes() -> None:
    told = (await recording()).recorded
    outcomes = again(told, None, silent(FILE))

    assert [(o.lacking, o.changes) for o in outcomes if o.fate != "answered"] == [("", [])] * (len(SAID) - 1)
    assert [outcome.decision for outcome in outcomes] == [each.told["decision"] for each in told]


async def test_a_decision_that_names_another_model_changes_its_requests_and_no_others() -> None:
    found = await recording()
    text = edited(decisions=decisions(maths={"modelRefs": [{"model": "big"}]}))
    outcomes = by_words(again(found.recorded, rules(epc()), silent(text)))

    assert {said for said, outcome in outcomes.items() if outcome.changes} == {"about math", "hola math"}
    assert (outcomes["about math"].recorded.model, outcomes["about math"].model) == ("small", "big")
    assert outcomes["about math"].endpoints.keys() <= {e.address for e in found.pool.endpoints[:2]}
    assert outcomes["about math"].borrowed  # the receipts of who went to `big`
    assert outcomes["about law"].borrowed == ()


async def test_a_higher_threshold_makes_what_was_not_so_sure_fall_back() -> None:
    found = await recording(stage(told=Told(confidence=0.7)))
    text = yaml.safe_load(FILE)
    text["global"] = {"model_catalog": {"modules": {"classifier": {"domain": {"threshold": 0.8}}}}}
    outcomes = by_words(again(found.recorded, None, silent(yaml.safe_dump(text))))

    assert outcomes["about math"].decision == "rest"
    assert outcomes["about math"].changes == ["model"]
    assert outcomes["urgent: about math"].decision == "hurry"


async def test_a_signal_that_was_not_judged_then_is_lacking_where_it_matters_and_only_there() -> None:
    signals = {
        **DOCUMENT["signals"],
        "keywords": [*DOCUMENT["signals"]["keywords"], {"name": "new", "keywords": ["x"]}],
    }
    low = {"name": "low", "priority": 0, "rules": {"type": "keyword", "name": "new"}, "modelRefs": [{"model": "big"}]}
    above = {**low, "name": "above", "priority": 20}
    found = (await recording()).recorded
    below = by_words(again(found, None, silent(edited(signals=signals, decisions=[*decisions(), low]))))
    over = by_words(again(found, None, silent(edited(signals=signals, decisions=[*decisions(), above]))))

    assert below["about math"].decision == "maths"
    assert over["about math"].lacking == "not judged then: keyword:new"
    assert not over["about math"].decided
    assert over["urgent: about math"].decision == "hurry"  # which stands above it


async def test_a_guard_that_would_block_refuses() -> None:
    found = await recording(said=("a jailbreak about math", "about math"))
    stopped, let_go = again(found.recorded, None, silent(edited(onehop={"guards": GUARDS})))

    assert (stopped.fate, stopped.changes) == ("refused: guard_jailbreak", ["fate"])
    assert let_go.changes == []


async def test_what_was_refused_by_a_guard_may_go_on() -> None:
    found = await recording(stage(edited(onehop={"guards": GUARDS})), said=("a jailbreak about math", "about math"))
    freed, _ = again(found.recorded, rules(epc()), silent(FILE))

    assert freed.recorded.fate == "refused: guard_jailbreak"
    assert (freed.fate, freed.decision, freed.changes) == ("goes", "maths", ["fate"])
    freed, _ = again(found.recorded, None, silent(FILE))

    assert (freed.fate, freed.model, freed.changes) == ("goes", "small", ["fate"])
    assert freed.lacking == "its endpoint: no scheduling configuration is given"


async def test_what_a_request_needs_is_known() -> None:
    """`small` has no tools."""
    found = await recording(tools=[{"type": "function", "function": {"name": "f"}}])
    outcomes = by_words(again(found.recorded, None, silent(FILE)))

    assert outcomes["about math"].recorded.model == "big"
    assert outcomes["about math"].changes == []


async def test_a_model_that_nobody_was_sent_to_has_no_endpoints_that_are_known() -> None:
    found = await recording(said=("about math",))
    text = edited(decisions=decisions(maths={"modelRefs": [{"model": "eyes"}]}))
    (outcome,) = again(found.recorded, rules(epc()), silent(text))

    assert (outcome.model, outcome.changes, outcome.endpoints) == ("eyes-7b-instruct", ["model"], {})
    assert outcome.lacking == "its endpoint: no receipt at all tells of endpoints of eyes-7b-instruct"


async def test_no_word_of_a_prompt_is_in_what_a_replay_tells() -> None:
    found = await recording(said=("canary-3391 about math",))

    assert "canary-3391" not in str(found.told)


async def test_signals_of_another_version_are_not_guessed_at() -> None:
    found = await recording(said=("about math",))
    told = found.told
    told[0]["signals"]["heads"] = {"about": {"domain": {"label": "math", "odds": 0.9}}}
    (outcome,) = again(recorded.read(told), None, silent(FILE))

    assert (outcome.decided, outcome.lacking) == (False, "its signals are not written as this version writes them")
