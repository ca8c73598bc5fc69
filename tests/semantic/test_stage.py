"""The stage from request to choice: what is asked of models, signals, decisions, recipes."""

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import yaml

from semantic.judges.known import Known
from semantic.judges.words import Keywords
from semantic.rules import Key, Verdict
from semantic.signals.api import DOMAIN, EMBEDDING, PII, SAFETY, Answer, Seen
from tests.semantic.fakes import Told, chat
from tests.semantic.stage import FILE, RECIPES, chosen, edited, stage


async def test_only_what_rules_and_guards_wait_for_is_asked() -> None:
    told = Told()
    await chosen(stage(told=told), "about math, at length and in detail")

    assert {name for _, names in told.asked for name in names} == {DOMAIN, SAFETY, PII}


async def test_each_text_is_looked_at_once() -> None:
    told = Told()
    await chosen(stage(told=told), "about math, at length and in detail")

    assert [text for text, _ in told.asked] == ["about math, at length and in detail"]


async def test_a_rule_that_needs_no_model_is_not_kept_waiting_by_one() -> None:
    told = Told()
    signals = {**yaml.safe_load(FILE)["routing"]["signals"], "jailbreak": [], "pii": []}
    choice = await chosen(stage(edited(signals=signals), told), "this is urgent, and about math")

    assert (choice.decision, choice.classification, told.asked) == ("hurry", "skipped", [])


async def test_where_models_are_silent_rules_are_unknown_and_the_default_answers() -> None:
    choice = await chosen(stage(told=Told(silent=frozenset({DOMAIN}))), "about math")

    assert (choice.decision, choice.models, choice.classification) == (None, ("big",), "degraded")
    assert "domain:math" in choice.unknown


async def test_past_the_deadline_everything_is_unknown() -> None:
    choice = await stage(told=Told(slow=True)).choose(chat("about math"), 0.01)

    assert (choice.decision, choice.classification) == (None, "degraded")


class Nonsense(Told):
    """Answers with what is no number."""

    async def see(self, text: str, wanted: frozenset[str], deadline: float) -> Seen:
        nan = float("nan")
        answers = {name: Answer("benign", nan, {"benign": nan, "jailbreak": nan}) for name in wanted}
        return Seen(answers, (), np.full(9, nan, dtype=np.float32))


async def test_what_is_no_number_is_unknown_and_not_a_no() -> None:
    rules = {
        "operator": "OR",
        "conditions": [
            {"operator": "NOT", "conditions": [{"type": "jailbreak", "name": "attack"}]},
            {"operator": "NOT", "conditions": [{"type": "embedding", "name": "setup"}]},
        ],
    }
    decisions = [{"name": "safe", "rules": rules, "modelRefs": [{"model": "small"}]}]
    choice = await chosen(stage(edited(decisions=decisions), Nonsense()), "hello")

    assert choice.decision is None
    assert {"jailbreak:attack", "embedding:setup"} <= set(choice.unknown)


async def test_words_of_a_long_text_are_compared_beside_the_loop() -> None:
    signals = {**yaml.safe_load(FILE)["routing"]["signals"]}
    signals["keywords"] = [{"name": "urgent", "method": "fuzzy", "keywords": ["urgent"]}, signals["keywords"][1]]
    router = stage(edited(signals=signals))
    text = "word " * 2000 + "urgnt"

    assert (await chosen(router, text)).decision == "hurry"
    assert (await router.choose(chat(text), 0.0)).decision != "hurry"


async def test_no_signal_is_begun_beside_the_loop_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = {**yaml.safe_load(FILE)["routing"]["signals"]}
    first, second = signals["keywords"]
    router, judged, judge = stage(edited(signals=signals)), [], Keywords.judge
    began, ended = threading.Event(), threading.Event()

    def slowly(self: Keywords, known: Known) -> Iterator[tuple[Key, Verdict]]:
        judged.append(self.name)
        began.set()
        assert ended.wait(10)
        return judge(self, known)

    monkeypatch.setattr(Keywords, "judge", slowly)
    late = await router.choose(chat("word " * 2000 + first["keywords"][0] + second["keywords"][0]), 0.5)
    ended.set()
    await asyncio.get_running_loop().shutdown_default_executor()  # the thread is through

    assert began.is_set()
    assert late.decision != "hurry"
    assert len(judged) == 1


async def test_a_fast_response_needs_no_model() -> None:
    choice = await chosen(stage(), "something forbidden")

    assert (choice.answer, choice.candidates, choice.decision) == ("No.", (), "blocked")


@pytest.mark.parametrize(
    ("rule", "text", "holds"),
    [
        ({"type": "embedding", "name": "setup"}, "please install it", True),
        ({"type": "embedding", "name": "setup"}, "my cat", False),
        ({"type": "complexity", "name": "depth:hard"}, "a proof about math", True),
        ({"type": "complexity", "name": "depth:hard"}, "a proof about law", False),
        ({"type": "complexity", "name": "depth:easy"}, "quick, about math", True),
        ({"type": "language", "name": "es"}, "hola", True),
    ],
)
async def test_signals_of_models_reach_their_rules(rule: dict[str, str], text: str, holds: bool) -> None:
    told = Told()
    decisions = [{"name": "it", "rules": rule, "modelRefs": [{"model": "small"}]}]
    choice = await chosen(stage(edited(decisions=decisions), told), text)

    assert (choice.decision == "it") is holds
    if rule["type"] != "language":
        assert EMBEDDING in {name for _, names in told.asked for name in names}


async def test_a_virtual_model_name_leads_to_its_recipe() -> None:
    router = stage(edited(**RECIPES))
    private = await chosen(router, "a secret about math", model="vllm-sr/private")
    usual = await chosen(router, "a secret about math")

    assert "vllm-sr/private" in router.aliases
    assert (private.decision, private.category) == ("kept", None)
    assert usual.decision == "maths"
