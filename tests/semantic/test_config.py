"""Reading configurations: what loads, what is refused with which words, what lenient mode reports."""

import os
import textwrap
from pathlib import Path

import pytest
import yaml

from semantic.config import ConfigError, load_config, read_config
from semantic.config_names import KINDS, PLUGIN_KINDS
from semantic.instead import INSTEAD
from semantic.judges.heads import Domain
from semantic.plan import ModelRef
from semantic.rules import AllOf, AnyOf, Holds, Not, Unsupported

BASE = textwrap.dedent("""\
    version: v0.3
    listeners: []
    providers:
      defaults: {default_model: big}
      models:
        - {name: big, backend_refs: [{name: s, endpoint: "big:80", weight: 1}]}
        - {name: small}
    routing:
      modelCards: [{name: big, loras: [{name: big-law}]}, {name: small}]
      signals: {domains: [{name: math}, {name: society, mmlu_categories: [law, computer_science]}]}
      decisions:
        - name: maths
          priority: 10
          rules: {operator: OR, conditions: [{type: domain, name: math}]}
          modelRefs: [{model: small, use_reasoning: false}]
    global: {router: {clear_route_cache: true}}
    """)


def edited(*path: str | int, to: object) -> str:
    """BASE with one value replaced (or, at the end of a list, added)."""
    document = yaml.safe_load(BASE)
    node = document
    for step in path[:-1]:
        node = node[step]
    if isinstance(node, list) and path[-1] == len(node):
        node.append(to)
    else:
        node[path[-1]] = to
    return yaml.safe_dump(document)


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(text)
    return [str(mistake) for mistake in (caught.value, *caught.value.others)]


DECISION = ("routing", "decisions", 0)


def test_the_plain_case() -> None:
    config = read_config(BASE)
    (decision,) = config.decisions

    assert config.default_model == "big"
    assert config.aliases == {"auto", "MoM", "vllm-sr/auto"}
    assert config.threshold is None
    assert config.warnings == ()
    assert decision.models == ("small",)
    assert decision.rule == AnyOf((Holds("domain", "math"),))
    assert decision.refs == (ModelRef("small", use_reasoning=False),)
    assert Domain("society", frozenset({"law", "computer science"})) in config.plan.judges


def test_a_tree_of_rules() -> None:
    tree = {
        "operator": "AND",
        "conditions": [
            {"type": "domain", "name": "society"},
            {"operator": "NOT", "conditions": [{"type": "domain", "name": "math"}]},
        ],
    }
    (decision,) = read_config(edited(*DECISION, "rules", to=tree)).decisions

    assert decision.rule == AllOf((Holds("domain", "society"), Not(Holds("domain", "math"))))


def test_a_decision_without_rules_is_a_catch_all() -> None:
    (decision,) = read_config(edited(*DECISION, "rules", to=None)).decisions

    assert decision.rule == AllOf()


def test_candidates_are_ordered_by_weight_and_loras_stand_for_themselves() -> None:
    refs = [{"model": "small"}, {"model": "big", "lora_name": "big-law", "weight": 3}, {"model": "big"}]
    (decision,) = read_config(edited(*DECISION, "modelRefs", to=refs)).decisions

    assert decision.models == ("big-law", "small", "big")


@pytest.mark.parametrize("wrapper", ["config", "configOverride"])
def test_the_helm_wrapper_is_seen_through_and_named_in_paths(wrapper: str) -> None:
    document = yaml.safe_load(BASE)
    wrapped = {wrapper: document, "replicaCount": 1}
    fine = read_config(yaml.safe_dump(wrapped))
    document["providers"]["defaults"]["default_model"] = "bigg"

    assert fine.default_model == "big"
    assert mistakes(yaml.safe_dump(wrapped)) == [
        f"{wrapper}.providers.defaults.default_model: the model 'bigg' is not in routing.modelCards, "
        "did you mean 'big'?"
    ]


def test_names_for_auto_and_the_threshold_come_from_global() -> None:
    block = {
        "router": {"auto_model_name": "pick", "auto_model_names": ["choose"]},
        "model_catalog": {"modules": {"classifier": {"domain": {"threshold": 0.55}}}},
    }
    config = read_config(edited("global", to=block))

    assert {"pick", "choose", "auto"} <= config.aliases
    assert config.threshold == 0.55


def test_a_plugin_that_is_off_is_no_mistake() -> None:
    plugin = {"type": "system_prompt", "configuration": {"enabled": False, "system_prompt": "Be terse."}}

    assert read_config(edited(*DECISION, "plugins", to=[plugin])).warnings == ()


def test_reasoning_without_a_family_is_noted() -> None:
    refs = [{"model": "small", "use_reasoning": True}]
    config = read_config(edited(*DECISION, "modelRefs", to=refs))

    assert config.warnings == (
        "routing.decisions[0].modelRefs[0].use_reasoning: changes nothing, 'small' has no reasoning_family",
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("version",), "v0.2", "version: 'v0.2' is not supported, this reads 'v0.3'"),
        (("version",), None, "version: is missing"),
        (("routng",), {}, "routng: unknown key, did you mean 'routing'? (--lenient passes over it)"),
        (
            (*DECISION, "prority"),
            3,
            "routing.decisions[0].prority: unknown key, did you mean 'priority'? (--lenient passes over it)",
        ),
        ((*DECISION, "priority"), "high", "routing.decisions[0].priority: should be a whole number, not 'high'"),
        ((*DECISION, "priority"), True, "routing.decisions[0].priority: should be a whole number, not True"),
        ((*DECISION, "name"), None, "routing.decisions[0].name: is missing"),
        ((*DECISION, "modelRefs"), [], "routing.decisions[0].modelRefs: names no model"),
        (
            (*DECISION, "modelRefs"),
            [{"model": "smal"}],
            "routing.decisions[0].modelRefs[0].model: the model 'smal' is not in routing.modelCards, "
            "did you mean 'small'?",
        ),
        (
            (*DECISION, "modelRefs"),
            [{"model": "big", "lora_name": "law"}],
            "routing.decisions[0].modelRefs[0].lora_name: 'law' is not among the loras of 'big', "
            "did you mean 'big-law'?",
        ),
        (
            (*DECISION, "rules"),
            {"type": "domain", "name": "maths"},
            "routing.decisions[0].rules.name: the domain 'maths' is not in routing.signals.domains, "
            "did you mean 'math'?",
        ),
        (
            (*DECISION, "rules"),
            {"type": "keyword", "name": "urgent"},
            "routing.decisions[0].rules.name: the keyword 'urgent' is not in routing.signals.keywords",
        ),
        (
            (*DECISION, "rules"),
            {"type": "domian", "name": "math"},
            "routing.decisions[0].rules.type: there is no signal type 'domian', did you mean 'domain'?",
        ),
        (
            (*DECISION, "rules"),
            {"operator": "XOR", "conditions": []},
            "routing.decisions[0].rules.operator: 'XOR' is none of AND, OR, NOT",
        ),
        (
            (*DECISION, "rules"),
            {"operator": "NOT", "conditions": []},
            "routing.decisions[0].rules.conditions: NOT takes exactly one condition, not 0",
        ),
        (
            (*DECISION, "plugins"),
            [{"type": "memory", "configuration": {"retrieval_limit": 5}}],
            "routing.decisions[0].plugins[0]: plugin type 'memory' is not supported yet: "
            "this is the application's part, before the gateway (set enabled: false or use --lenient)",
        ),
        (
            (*DECISION, "plugins"),
            [{"type": "sytem_prompt"}],
            "routing.decisions[0].plugins[0].type: there is no plugin type 'sytem_prompt', "
            "did you mean 'system_prompt'?",
        ),
        (
            (*DECISION, "algorithm"),
            {"type": "knn"},
            "routing.decisions[0].algorithm.type: the algorithm 'knn' is not supported yet, only 'static' "
            "and 'multi_factor': a decision over a `classifiers` signal with the trained model, exported to ONNX, "
            "says it (use --lenient)",
        ),
        (
            ("routing", "decisions", 1),
            {"name": "maths", "modelRefs": [{"model": "big"}]},
            "routing.decisions[1].name: two decisions have the name 'maths'",
        ),
        (
            ("routing", "signals", "domains", 2),
            {"name": "phisics"},
            "routing.signals.domains[2].name: 'phisics' is not one of the 14 MMLU-Pro categories, "
            "did you mean 'physics'?",
        ),
        (
            ("routing", "signals", "reasks"),
            [{"name": "again"}],
            "routing.signals.reasks: signals of the kind 'reasks' are not supported yet: a turn that adds nothing "
            "stays with its model as it is; for others compare with phrases in `embeddings` (use --lenient)",
        ),
        (("routing", "strategy"), "random", "routing.strategy: 'random' is neither 'priority' nor 'confidence'"),
        (("routing", "decisions"), {}, "routing.decisions: should be a list, not a mapping"),
        (("routing", "decisions", 0), "maths", "routing.decisions[0]: should be a mapping, not 'maths'"),
        (
            ("providers", "models", 2),
            {"name": "huge"},
            "providers.models[2].name: the model 'huge' is not in routing.modelCards",
        ),
        (("providers", "defaults", "default_model"), None, "providers.defaults.default_model: is missing"),
        (
            ("global", "stores"),
            {"response_cache": {"enabled": True}},
            "global.stores.response_cache: is switched on and not supported yet: answers are not kept here; "
            "requests go where their prompt's beginning is cached (set enabled: false or use --lenient)",
        ),
        (
            ("global", "model_catalog"),
            {"modules": {"prompt_compression": {"enabled": True}}},
            "global.model_catalog.modules.prompt_compression: is switched on and not supported yet: "
            "`context` signals send long prompts to models with the room (set enabled: false or use --lenient)",
        ),
        (
            ("global", "model_catalog"),
            {"modules": {"classifier": {"domain": {"threshold": 7}}}},
            "global.model_catalog.modules.classifier.domain.threshold: should lie between 0 and 1",
        ),
    ],
)
def test_a_mistake_is_named_with_its_path(path: tuple[str | int, ...], value: object, message: str) -> None:
    assert message in mistakes(edited(*path, to=value))


def test_every_mistake_is_reported_at_once() -> None:
    text = BASE.replace("default_model: big", "default_model: huge").replace("priority: 10", "prio: 10")

    assert len(mistakes(text)) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: v0.3\nversion: v0.3\n", "line 2: the key 'version' is given twice"),
        ("a: [1, 2", "line 1: is not valid YAML"),
        ("", "the file is empty"),
        ("- a\n", "should be a mapping, not a list"),
        ("model_config: {}\ndefault_model: x\n", "this looks like a layout older than v0.3"),
        ("version: v0.3\n---\nversion: v0.3\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_says_so(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(text)

    assert message in str(caught.value)


def test_lenient_mode_reports_what_has_no_effect_and_keeps_the_rest() -> None:
    rules = {"operator": "OR", "conditions": [{"type": "reask", "name": "again"}, {"type": "domain", "name": "math"}]}
    text = edited(*DECISION, "rules", to=rules).replace("signals:", "signals:\n    reasks: [{name: again}]", 1)
    config = read_config(text, lenient=True)
    (decision,) = config.decisions

    assert isinstance(decision.rule, AnyOf)
    assert decision.rule.children[0] == Unsupported("reask", "again")
    assert config.warnings == (
        "routing.signals.reasks: signals of the kind 'reasks' are not supported yet: a turn that adds nothing stays "
        "with its model as it is; for others compare with phrases in `embeddings`; it has no effect",
        "routing.decisions[0].rules.conditions[0]: the reask 'again' cannot be computed, so this never holds; "
        "it has no effect",
    )


def test_lenient_mode_forgives_no_dangling_name() -> None:
    text = edited(*DECISION, "modelRefs", to=[{"model": "smal"}])

    with pytest.raises(ConfigError, match="smal"):
        read_config(text, lenient=True)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "config.yaml")


def compat(name: str) -> Path:
    folder = os.environ.get("ONEHOP_COMPAT_DIR")
    if not folder:
        pytest.skip("ONEHOP_COMPAT_DIR is not set")
    return Path(folder) / "vsr" / name


def test_the_guides_istio_values_load_unedited() -> None:
    config = load_config(compat("istio-values.yaml"))
    math = next(decision for decision in config.decisions if decision.name == "math")

    assert config.default_model == "llama3-8b"
    assert len(config.decisions) == 14
    assert math.models == ("phi4-mini",)


@pytest.mark.parametrize("name", ["ai-gateway-values.yaml", "canonical-exhaustive.yaml"])
def test_richer_files_are_refused_by_path_or_load_leniently(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(compat(name))

    assert len(caught.value.others) > (4 if name.startswith("ai") else 60)
    assert load_config(compat(name), lenient=True).decisions


def test_an_older_layout_is_recognised() -> None:
    with pytest.raises(ConfigError, match=r"older than v0\.3"):
        load_config(compat("pre-v03-values.yaml"), lenient=True)


def test_cards_say_what_a_model_can_and_adapters_are_as_their_base() -> None:
    card = {"name": "small", "context_window_size": 8192, "quality_score": 0.8, "capabilities": ["chat", "tools"]}
    config = read_config(edited("routing", "modelCards", 1, to=card))

    small, big = config.cards["small"], config.cards["big"]
    assert (small.context_tokens, small.quality, small.capabilities) == (8192, 0.8, {"chat", "tools"})
    assert (big.context_tokens, big.quality, big.capabilities, big.loras) == (None, None, None, {"big-law"})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("context_window_size", 0, "should be a number of tokens above 0"),
        ("context_window_size", "8k", "should be a whole number, not '8k'"),
        ("quality_score", 88, "should lie between 0 and 1"),
        ("capabilities", "tools", "should be a list, not 'tools'"),
    ],
)
def test_a_card_with_a_wrong_value_is_a_mistake(key: str, value: object, message: str) -> None:
    found = mistakes(edited("routing", "modelCards", 1, to={"name": "small", key: value}))

    assert f"routing.modelCards[1].{key}: {message}" in found


def test_a_decision_may_forbid_weaker_models() -> None:
    (decision,) = read_config(edited(*DECISION, "never_degrade", to=True)).decisions

    assert decision.never_degrade
    assert decision.weights == (1.0,)


@pytest.mark.parametrize("kind", sorted(PLUGIN_KINDS))
def test_a_plugin_is_read_or_refused_with_what_to_use_in_its_place(kind: str) -> None:
    said = said_of(edited(*DECISION, "plugins", to=[{"type": kind}]))
    refused = [line for line in said if "not supported yet" in line]

    assert [INSTEAD[kind] in line for line in refused] == [True] * (kind not in READ)


@pytest.mark.parametrize("kind", sorted(KINDS.values()))
def test_a_signal_is_read_or_refused_with_what_to_use_in_its_place(kind: str) -> None:
    said = said_of(edited("routing", "signals", kind, to=[{"name": "s"}]))
    refused = [line for line in said if "of the kind" in line]

    assert [INSTEAD[kind] in line for line in refused] == [True] * (kind not in READ)


ALGORITHMS = (
    *("latency_aware", "knn", "kmeans", "svm", "mlp", "router_dc", "automix", "hybrid", "prompt", "elo", "rl_driven"),
    *("gmtrouter", "session_aware", "confidence", "ratings", "remom", "fusion", "workflows"),
)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_an_algorithm_that_is_refused_has_one_to_use_in_its_place(kind: str) -> None:
    (line,) = mistakes(edited(*DECISION, "algorithm", to={"type": kind}))

    assert INSTEAD[kind] in line


def said_of(text: str) -> list[str]:
    """The mistakes of a file, which may have none."""
    try:
        read_config(text)
    except ConfigError as mistake:
        return [str(mistake), *map(str, mistake.others)]
    return []


READ = {"system_prompt", "fast_response", "header_mutation", "request_params"} | {
    *("keywords", "domains", "embeddings", "complexity", "context", "jailbreak", "pii", "language", "fact_check"),
    *("user_feedbacks", "classifiers", "conversation", "metadata"),
}
