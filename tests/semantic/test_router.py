"""The router from end to end: shipped model, configuration, candidates, and what happens without an answer."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from semantic.asked import Asked
from semantic.classifier import Classifier
from semantic.config import ConfigError, read_config
from semantic.judges.known import Known
from semantic.router import UNREAD, SemanticRouter
from semantic.signals.api import Answer
from semantic.signals.engine import Engine
from semantic.signals.heads import HeadSignals
from semantic.signals.reader import SignalReader
from semantic.watch import settle
from tests.semantic.conftest import HeldEncoder
from tests.semantic.test_config import BASE

LONG_S = 30.0
CATCH_ALL = """\
    - name: rest
      priority: 1
      modelRefs: [{model: big, lora_name: big-law}]
"""


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SemanticRouter]:
    path = tmp_path_factory.mktemp("semantic") / "config.yaml"
    path.write_text(BASE)
    made = SemanticRouter.load(path)
    yield made
    made.close()
    made.signals.close()


@pytest.fixture
def held(held_encoder: HeldEncoder) -> HeldEncoder:
    """The held model of these tests is an encoder."""
    return held_encoder


def over(held: HeldEncoder, text: str = BASE, threshold: float = 0.4) -> SemanticRouter:
    return SemanticRouter(
        read_config(text), HeadSignals(SignalReader(Engine(), Classifier(held), tier="1"), {"domain": threshold})
    )


def close(router: SemanticRouter) -> None:
    router.close()
    router.signals.close()


def ask(*turns: tuple[str, str]) -> Asked:
    return Asked(turns=turns)


async def test_the_canonical_request_goes_to_the_small_model(router: SemanticRouter) -> None:
    choice = await router.choose(ask(("user", "What is 2+2 * (5-1)?")), LONG_S)

    assert choice.models == ("small", "big")
    assert (choice.decision, choice.category, choice.classification) == ("maths", "math", "full")
    assert choice.probabilities[0] == ("math", choice.confidence)
    assert len(choice.probabilities) == 3


async def test_a_category_without_a_decision_goes_to_the_default_model(router: SemanticRouter) -> None:
    choice = await router.choose(ask(("user", "Who won the battle of Waterloo and what followed?")), LONG_S)

    assert choice.models == ("big",)
    assert choice.decision is None
    assert choice.category == "history"
    assert choice.reason.endswith("no decision applies, so the default model big answers")


async def test_without_text_of_a_user_classification_is_skipped(router: SemanticRouter) -> None:
    choice = await router.choose(ask(("system", "Answer in French.")), LONG_S)

    assert choice.models == ("big",)
    assert (choice.classification, choice.category, choice.confidence) == ("skipped", None, None)


async def test_after_the_deadline_the_default_model_answers(held: HeldEncoder) -> None:
    router = over(held)
    held.open.clear()
    choice = await router.choose(ask(("user", "What is 2+2 * (5-1)?")), 0.01)
    held.open.set()
    close(router)

    assert choice.models == ("big",)
    assert choice.classification == "degraded"


async def test_when_the_model_fails_the_default_model_answers(held: HeldEncoder) -> None:
    router = over(held)
    choice = await router.choose(ask(("user", "broken")), LONG_S)
    close(router)

    assert choice.models == ("big",)
    assert choice.classification == "degraded"


async def test_a_catch_all_still_applies_when_the_category_is_unknown(held: HeldEncoder) -> None:
    router = over(held, BASE.replace("global:", f"{CATCH_ALL}global:"))
    choice = await router.choose(ask(("user", "broken")), LONG_S)
    close(router)

    assert choice.models == ("big-law", "big")
    assert (choice.decision, choice.classification) == ("rest", "degraded")


async def test_below_the_threshold_the_category_is_other_and_the_reason_says_so(held: HeldEncoder) -> None:
    router = over(held, threshold=0.999)
    choice = await router.choose(ask(("user", "math")), LONG_S)
    close(router)

    assert (choice.category, choice.decision, choice.models) == ("other", None, ("big",))
    assert "below the threshold of 1.00" in choice.reason


async def test_what_is_no_language_of_the_classifiers_is_not_said_to_be_below_the_threshold(held: HeldEncoder) -> None:
    router = over(held)
    answer = Answer("math", 0.9, {"math": 0.9}, abstained=True, threshold=0.4)
    category = settle(answer, None, "other")
    known = Known(ask(("user", "x")), "x", category=category)
    seen = router._seen(known, answer, None, "full")
    close(router)

    assert seen == f"the prompt looks like math (0.90), {UNREAD}, so it counts as other"


async def test_the_threshold_of_the_file_wins(held: HeldEncoder) -> None:
    block = "global: {model_catalog: {modules: {classifier: {domain: {threshold: 0.2}}}}}\n"
    router = over(held, BASE.split("global:")[0] + block, threshold=0.95)
    choice = await router.choose(ask(("user", "math")), LONG_S)
    close(router)

    assert choice.decision == "maths"


async def test_prompts_reach_neither_reason_nor_log(router: SemanticRouter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    choice = await router.choose(ask(("user", "canary-4711 please explain the canary-4711 rule of torts")), LONG_S)

    assert "canary" not in repr(choice)
    assert "canary" not in caplog.text


async def test_many_at_once_share_batches(router: SemanticRouter) -> None:
    assert isinstance(router.signals, HeadSignals)
    counts = router.signals.reader.classifier.counts
    before = counts.batches
    asked = [
        router.choose(ask(("user", f"How many apples are {n} apples and {n + 3} apples?")), LONG_S) for n in range(40)
    ]
    choices = await asyncio.gather(*asked)

    assert {choice.classification for choice in choices} == {"full"}
    assert counts.batches - before < 20


async def test_a_turn_without_words_of_its_own_stays_with_its_model(held: HeldEncoder) -> None:
    router = over(held)
    first = await router.choose(ask(("user", "math")), LONG_S)
    batches = len(held.batches)
    turns = (("user", "math"), ("assistant", "4"), ("user", "and why?"))
    again = await router.choose(ask(*turns), LONG_S)
    close(router)

    assert again.models == first.models
    assert (again.decision, again.category, again.classification) == ("maths", "math", "skipped")
    assert len(held.batches) == batches


def test_a_mistake_in_the_file_stops_the_load(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(BASE.replace("default_model: big", "default_model: huge"))

    with pytest.raises(ConfigError, match="huge"):
        SemanticRouter.load(path)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        SemanticRouter.load(tmp_path / "none.yaml")


async def test_the_choice_says_what_is_lost_by_each_further_model(held: HeldEncoder) -> None:
    scored = BASE.replace("{name: small}]", "{name: small, quality_score: 0.75}]").replace(
        "modelCards: [{name: big,", "modelCards: [{name: big, quality_score: 0.7,"
    )
    router = over(held, scored.replace("priority: 10", "priority: 10\n      never_degrade: true"))
    choice = await router.choose(ask(("user", "math")), LONG_S)
    plain = over(held)
    unscored = await plain.choose(ask(("user", "math")), LONG_S)
    close(router)
    close(plain)

    assert (choice.models, choice.margins, choice.never_degrade) == (("small", "big"), (0.0, 0.05), True)
    assert (unscored.margins, unscored.never_degrade) == ((0.0, 1.0), False)
