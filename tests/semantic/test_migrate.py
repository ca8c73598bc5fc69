"""Older layouts as v0.3: what carries over works, what does not is named with what it changes."""

from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from semantic.config import ConfigError, SemanticConfig, read_config
from semantic.migrate import Migration, migrate
from semantic.router import SemanticRouter
from tests.semantic.fakes import EVERYTHING, LONG_S, Told, chat
from tests.semantic.test_config import BASE, compat

FLAT: dict[str, Any] = {
    "model_config": {"base": {"reasoning_family": "qwen3", "loras": [{"name": "law-expert"}]}},
    "categories": [{"name": "law", "description": "laws"}, {"name": "math"}],
    "keyword_rules": [{"category": "thinking", "operator": "OR", "keywords": ["think"], "case_sensitive": False}],
    "decisions": [
        {
            "name": "law_decision",
            "priority": 10,
            "rules": {"operator": "OR", "conditions": [{"type": "domain", "rule_name": "law"}]},
            "modelRefs": [{"model": "base", "lora_name": "law-expert", "use_reasoning": False}],
        },
        {
            "name": "thinking_decision",
            "priority": 20,
            "rules": {"operator": "OR", "conditions": [{"type": "keyword", "rule_name": "thinking"}]},
            "modelRefs": [{"model": "base", "use_reasoning": True}],
        },
    ],
    "default_model": "base",
    "reasoning_families": {"qwen3": {"type": "chat_template_kwargs", "parameter": "enable_thinking"}},
    "default_reasoning_effort": "high",
    "strategy": "priority",
}
PII = "pii"


def migrated(document: dict[str, Any]) -> Migration:
    return migrate(yaml.safe_dump(document, sort_keys=False))


def read(done: Migration) -> SemanticConfig:
    return read_config(yaml.safe_dump(done.document), provides=EVERYTHING)


def with_policies(*allowed: Sequence[str] | None) -> dict[str, Any]:
    decisions = []
    for decision, types in zip(FLAT["decisions"], allowed, strict=True):
        plugin = {"type": "pii", "configuration": {"enabled": True, "pii_types_allowed": types}}
        decisions.append({**decision, "plugins": [] if types is None else [plugin]})
    return {**FLAT, "decisions": decisions}


def test_the_flat_layout_becomes_a_file_that_loads() -> None:
    done = migrated(FLAT)
    config = read(done)

    assert config.default_model == "base"
    assert [(d.name, d.models, d.priority) for d in config.decisions] == [
        ("law_decision", ("law-expert",), 10),
        ("thinking_decision", ("base",), 20),
    ]
    assert done.lost == []
    assert config.cards["base"].family is not None


async def test_what_was_converted_decides_as_it_did() -> None:
    router = SemanticRouter(read(migrated(FLAT)), Told())

    assert (await router.choose(chat("about law"), LONG_S)).decision == "law_decision"
    assert (await router.choose(chat("think about law"), LONG_S)).decision == "thinking_decision"


def test_the_oldest_layout_becomes_a_decision_for_each_category() -> None:
    old = {
        "categories": [
            {
                "name": "math",
                "system_prompt": "Show your steps.",
                "jailbreak_enabled": False,
                "model_scores": [
                    {"model": "small", "score": 0.3, "use_reasoning": False},
                    {"model": "big", "score": 0.9, "use_reasoning": True},
                ],
            }
        ],
        "default_model": "big",
        "vllm_endpoints": [{"name": "e", "address": "10.0.0.1", "port": 8000}],
    }
    done = migrated(old)
    (decision,) = read(done).decisions

    assert decision.models == ("big", "small")
    assert decision.plugins.system_prompt is not None
    assert decision.plugins.system_prompt.mode == "replace"
    assert [line.split(":")[0] for line in done.lost] == ["categories[0].jailbreak_enabled", "vllm_endpoints"]


def test_one_policy_on_personal_data_becomes_a_guard_that_blocks() -> None:
    config = read(migrated(with_policies([], [])))

    assert [(g.kind, g.name, g.blocks) for g in config.extras.guards] == [("pii", "pii_policy", True)]
    assert [d.priority for d in config.decisions] == [10, 20]


async def test_policies_that_differ_become_decisions_that_refuse() -> None:
    config = read(migrated(with_policies(["EMAIL_ADDRESS"], [])))
    router = SemanticRouter(config, Told())
    law = await router.choose(chat("about law, a@b.c"), LONG_S)
    think = await router.choose(chat("think about it, a@b.c"), LONG_S)
    clean = await router.choose(chat("think about it"), LONG_S)

    assert config.extras.guards == ()
    assert (law.decision, law.answer) == ("law_decision", None)
    assert think.answer is not None
    assert (clean.decision, clean.answer) == ("thinking_decision", None)


def test_a_decision_without_a_policy_keeps_others_from_being_guarded_by_it() -> None:
    config = read(migrated(with_policies(None, [])))

    assert config.extras.guards == ()
    assert [d.name for d in config.decisions] == ["law_decision", "thinking_decision_pii", "thinking_decision"]
    assert [d.priority for d in config.decisions] == [20, 41, 40]


def test_a_prompt_guard_that_was_on_blocks_and_one_that_was_off_is_gone() -> None:
    on = migrated({**FLAT, "prompt_guard": {"enabled": True, "threshold": 0.7, "model_id": "models/x"}})
    off = migrated({**FLAT, "prompt_guard": {"enabled": False}})

    assert [(g.kind, g.blocks) for g in read(on).extras.guards] == [("jailbreak", True)]
    assert [line.split(":")[0] for line in on.lost] == ["prompt_guard.threshold", "prompt_guard.model_id"]
    assert read(off).extras.guards == ()


def test_every_other_key_is_named_with_what_its_absence_changes() -> None:
    done = migrated({**FLAT, "semantic_cache": {"enabled": True}, "tools": {"enabled": True}, "surprise": 1})

    assert [line.split(":")[0] for line in done.lost] == ["semantic_cache", "tools", "surprise"]
    assert "repeated questions" in done.lost[0]
    assert "not known" in done.lost[2]


def test_what_a_chart_has_beside_the_configuration_is_named() -> None:
    done = migrated({"config": FLAT, "replicaCount": 2})

    assert read(done).default_model == "base"
    assert done.lost == ["replicaCount: a value for vSR's chart, not for the router"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE, "version: is 'v0.3': there is nothing to convert"),
        ("a: 1\n", "is no configuration of vSR from before v0.3"),
        ("- a\n", "is no mapping"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_what_is_no_older_layout_says_so(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        migrate(text)


def test_the_guides_older_values_become_a_file_that_loads() -> None:
    done = migrate(compat("pre-v03-values.yaml").read_text())
    config = read(done)
    new = {d.name: d.models for d in read_config(compat("ai-gateway-values.yaml").read_text(), lenient=True).decisions}

    assert {d.name: d.models for d in config.decisions} == new
    assert {(g.kind, g.blocks) for g in config.extras.guards} == {("pii", True), ("jailbreak", True)}
    lost = {line.split(":")[0].split(" ")[0] for line in done.lost}
    assert {"config.semantic_cache", "config.tools", "config.router", "config.decisions[2].plugins[1]"} <= lost
