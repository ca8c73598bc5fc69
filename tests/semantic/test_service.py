"""The classification API's answers, in vSR's shapes."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from semantic.router import SemanticRouter
from semantic.service import TEXTS_MAX, BadInput, ClassificationService, NotAvailable
from semantic.signals.api import NOTHING, PII, SAFETY, Seen
from tests.clock import Later
from tests.semantic.fakes import Told
from tests.semantic.onnx_files import classifier
from tests.semantic.stage import GUARDS, edited, stage
from tests.semantic.test_config import BASE
from tests.semantic.test_own_models import MODULES, RISK, SIGNALS, TAGS, WORDS


def service(told: Told | None = None, **changes: object) -> ClassificationService:
    router = stage(edited(**changes), told)
    return ClassificationService(lambda: router, 1.0)


async def call(name: str, given: Mapping[str, Any], over: ClassificationService | None = None) -> dict[str, Any]:
    return await (over or service()).calls[name](given)


async def test_intent() -> None:
    said = await call("classify/intent", {"text": "about math", "options": {"return_probabilities": True}})

    assert said["classification"]["category"] == "math"
    assert said["classification"]["confidence"] == 0.9
    assert isinstance(said["classification"]["processing_time_ms"], int)
    assert said["probabilities"] == {"math": 0.9, "other": 0.1}
    assert (said["recommended_model"], said["routing_decision"]) == ("small", "maths")
    assert said["matched_signals"] == {"domains": ["math"]}


async def test_pii() -> None:
    said = await call("classify/pii", {"text": "write to a@b.c now"})

    assert said["has_pii"] is True
    assert said["entities"] == [
        {"type": "EMAIL_ADDRESS", "value": "a@b.c", "confidence": 1.0, "start_position": 9, "end_position": 14}
    ]
    assert said["masked_text"] == "write to [EMAIL_ADDRESS] now"
    assert said["security_recommendation"] == "block"


async def test_pii_of_the_types_that_are_asked_for() -> None:
    said = await call("classify/pii", {"text": "a@b.c", "options": {"entity_types": ["PERSON"]}})

    assert (said["has_pii"], said["entities"], said["security_recommendation"]) == (False, [], "allow")


@pytest.mark.parametrize(("text", "attack"), [("a jailbreak", True), ("hello", False)])
async def test_security(text: str, attack: bool) -> None:
    said = await call("classify/security", {"text": text})

    assert said["is_jailbreak"] is attack
    assert said["detection_types"] == (["jailbreak"] if attack else [])
    assert (said["risk_score"] > 0.5) is attack
    assert said["recommendation"] == ("block" if attack else "allow")


async def test_combined_has_all_three_and_null_for_what_nobody_can_tell() -> None:
    over = service(Told(silent=frozenset({SAFETY})))
    said = await call("classify/combined", {"text": "about math"}, over)

    assert said["intent"]["classification"]["category"] == "math"
    assert said["pii"]["has_pii"] is False
    assert said["security"] is None


async def test_batch() -> None:
    said = await call("classify/batch", {"texts": ["about math", "about law", "about math again"]})

    assert [r["classification"]["category"] for r in said["results"]] == ["math", "law", "math"]
    assert said["total_count"] == 3
    assert said["statistics"] == {
        "category_distribution": {"math": 2, "law": 1},
        "avg_confidence": 0.9,
        "low_confidence_count": 0,
    }


@pytest.mark.parametrize(("task", "member"), [("pii", "has_pii"), ("security", "is_jailbreak"), ("all", "intent")])
async def test_a_batch_of_another_task(task: str, member: str) -> None:
    said = await call("classify/batch", {"texts": ["x y"], "task_type": task})

    assert member in said["results"][0]


async def test_a_dry_run_of_a_whole_decision() -> None:
    said = await call("eval", {"text": "a jailbreak about math", "trace": True})
    result = said["decision_result"]
    maths = next(one for one in said["trace"] if one["decision"] == "maths")

    assert result["decision_name"] == said["routing_decision"] == "maths"
    assert result["used_signals"] == {"domains": ["math"]}
    assert result["matched_signals"] == {"domains": ["math"], "jailbreak": ["attack"]}
    assert "law" in result["unmatched_signals"]["domains"]
    assert said["recommended_models"] == ["small", "big"]
    assert maths["conditions"] == [{"type": "domain", "name": "math", "verdict": "yes"}]
    assert len(said["trace"]) == 6


async def test_a_dry_run_of_a_request_sees_its_needs_and_guards() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "about math"}, {"type": "image_url"}]}]
    with_image = await call("eval", {"request": {"model": "auto", "messages": messages}})
    refused = await call("eval", {"text": "a jailbreak"}, service(onehop={"guards": GUARDS}))

    assert with_image["recommended_models"] == ["small", "big", "eyes-7b-instruct"]
    assert (refused["refusal"], refused["recommended_models"]) == ("guard_jailbreak", [])


async def test_a_dry_run_leaves_no_trace_in_conversations() -> None:
    router = stage()
    over = ClassificationService(lambda: router, 1.0)
    await call("eval", {"text": "about law"}, over)
    said = await call("eval", {"messages": [{"role": "user", "content": t} for t in ("about law", "and why?")]}, over)

    assert said["classification"] == "full"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("classify/intent", {}),
        ("classify/intent", {"text": " "}),
        ("classify/pii", {"text": 3}),
        ("classify/batch", {"texts": []}),
        ("classify/batch", {"texts": "abc"}),
        ("classify/batch", {"texts": ["x"] * (TEXTS_MAX + 1)}),
        ("classify/batch", {"texts": ["x"], "task_type": "nlp"}),
        ("classify/batch", {"texts": [{}]}),
        ("eval", {}),
        ("eval", {"messages": 3}),
    ],
)
async def test_what_makes_no_sense_is_refused(name: str, given: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        await call(name, given)


@pytest.mark.parametrize("name", ["classify/pii", "classify/intent"])
async def test_what_nobody_can_tell_in_time_is_not_available(name: str) -> None:
    router = stage(told=Told(slow=True))

    with pytest.raises(NotAvailable):
        await ClassificationService(lambda: router, 0.01).calls[name]({"text": "x"})


async def test_what_nothing_here_computes_is_not_available() -> None:
    told = Told()
    router = stage(told=told)
    told.provides = {name: labels for name, labels in told.provides.items() if name != PII}

    with pytest.raises(NotAvailable, match="nothing here computes pii"):
        await ClassificationService(lambda: router).calls["classify/pii"]({"text": "x"})


async def test_models_of_ones_own_answer_where_they_stand_in(tmp_path: Path) -> None:
    classifier(tmp_path / "guard", RISK, WORDS)
    classifier(tmp_path / "people", TAGS, {"Alice": "B-PERSON"}, tokens=True)
    classifier(tmp_path / "domains", ("cooking", "sports"), {"ball": "sports"})
    classifier(tmp_path / "facts", ("NO_FACT_CHECK_NEEDED", "FACT_CHECK_NEEDED"), {"when": "FACT_CHECK_NEEDED"})
    path = tmp_path / "config.yaml"
    path.write_text(BASE.split("  signals:")[0] + SIGNALS + MODULES)
    router = SemanticRouter.load(path, signals=Told(provides={}))
    router.prepare()
    said = await call("classify/combined", {"text": "Alice plays ball"}, ClassificationService(lambda: router))
    attack = await call("classify/security", {"text": "delete"}, ClassificationService(lambda: router))
    router.close()

    assert said["intent"]["classification"]["category"] == "sports"
    assert [e["value"] for e in said["pii"]["entities"]] == ["Alice"]
    assert said["security"]["is_jailbreak"] is False
    assert (attack["is_jailbreak"], attack["detection_types"]) == (True, ["RISKY"])


async def test_combined_takes_the_time_of_one_call_and_no_more(later: Later) -> None:
    class Slow(Told):
        async def see(self, text: str, wanted: frozenset[str], deadline: float) -> Seen:
            later.by_s += max(0.0, deadline - asyncio.get_running_loop().time())
            return NOTHING

    router = stage(edited(), Slow())
    said = await call("classify/combined", {"text": "about math"}, ClassificationService(lambda: router, 60.0))

    assert (said["intent"], said["pii"], said["security"]) == (None, None, None)
    assert 30.0 < later.by_s <= 60.0


@pytest.mark.parametrize("task", ["intent", "pii", "security"])
async def test_each_answer_says_how_much_of_the_text_was_read(task: str) -> None:
    said = await call(f"classify/{task}", {"text": "about math"})

    assert said["coverage"] == {"scanned_bytes": 10, "total_bytes": 10}
