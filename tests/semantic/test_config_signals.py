"""Tables of configurations: what of signals, decisions, plugins and our own block loads, and what is refused how."""

from pathlib import Path

import pytest
import yaml

from semantic.config import ConfigError, SemanticConfig, load_config, read_config
from semantic.judges.words import Keywords
from semantic.plan import Algorithm, Plugins, RequestParams, SystemPrompt
from semantic.rules import Given, Holds, Otherwise, Scores, Truth
from tests.semantic.fakes import EVERYTHING
from tests.semantic.test_config import BASE, DECISION, compat, edited

SIGNALS = ("routing", "signals")


def read(text: str, *, lenient: bool = False) -> SemanticConfig:
    return read_config(text, lenient=lenient, provides=EVERYTHING)


def told(text: str, **more: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(text, **more)  # type: ignore[arg-type]  # a test's shorthand
    return [str(mistake) for mistake in (caught.value, *caught.value.others)]


def signals(**kinds: object) -> str:
    domains = yaml.safe_load(BASE)["routing"]["signals"]["domains"]
    return edited(*SIGNALS, to={"domains": domains, **kinds})


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("keywords", {"name": "k", "operator": "AND", "keywords": ["a"], "case_sensitive": True}),
        ("keywords", {"name": "k", "method": "bm25", "keywords": ["a"], "bm25_threshold": 0.1}),
        ("keywords", {"name": "k", "method": "ngram", "keywords": ["a"], "ngram_threshold": 0.4, "ngram_arity": 3}),
        ("keywords", {"name": "k", "method": "fuzzy", "keywords": ["a"], "fuzzy_match": True, "fuzzy_threshold": 82}),
        ("embeddings", {"name": "e", "threshold": 0.7, "aggregation_method": "any", "candidates": ["a"]}),
        ("complexity", {"name": "c", "threshold": 0.1, "hard": {"candidates": ["a"]}, "easy": {"candidates": ["b"]}}),
        ("context", {"name": "l", "min_tokens": "32K", "max_tokens": "1.5M"}),
        ("language", {"name": "es", "threshold": 0.0}),
        ("jailbreak", {"name": "j", "threshold": 0.8, "include_history": True, "on_error": "block"}),
        ("jailbreak", {"name": "j", "method": "hybrid", "jailbreak_patterns": ["a"], "benign_patterns": ["b"]}),
        ("pii", {"name": "p", "threshold": 0.85, "pii_types_allowed": ["EMAIL_ADDRESS"], "include_history": True}),
        ("metadata", {"name": "m", "key": "consent", "predicate": {"equals": "denied"}}),
        (
            "conversation",
            {
                "name": "c",
                "feature": {"type": "count", "source": {"type": "message", "role": "user"}},
                "predicate": {"gte": 2},
            },
        ),
        ("conversation", {"name": "c", "feature": {"type": "exists", "source": {"type": "image_content"}}}),
    ],
)
def test_signals_load(kind: str, entry: dict[str, object]) -> None:
    config = read(signals(**{kind: [{**entry, "description": "x"}]}))

    assert config.warnings == ()
    assert len(config.plan.judges) == 3


@pytest.mark.parametrize(
    ("kind", "entry", "message"),
    [
        ("keywords", {"name": "k"}, "routing.signals.keywords[0].keywords: names no keyword"),
        (
            "keywords",
            {"name": "k", "keywords": ["a"], "method": "bm52"},
            "routing.signals.keywords[0].method: 'bm52' is none of regex, bm25, ngram, fuzzy, did you mean 'bm25'?",
        ),
        (
            "keywords",
            {"name": "k", "keywords": ["a", "(?<=b)c"]},
            "routing.signals.keywords[0].keywords[1]: is no pattern of RE2: "
            "what looks around or back takes endless time for some texts; say it without",
        ),
        (
            "keywords",
            {"name": "k", "keywords": ["a"], "fuzzy_threshold": 820},
            "routing.signals.keywords[0].fuzzy_threshold: should lie between 0 and 100, in percent",
        ),
        (
            "keywords",
            {"name": "k", "keywords": ["a"], "keyword": "b"},
            "routing.signals.keywords[0].keyword: unknown key, did you mean 'keywords'? (--lenient passes over it)",
        ),
        ("embeddings", {"name": "e"}, "routing.signals.embeddings[0].candidates: names no phrase"),
        (
            "embeddings",
            {"name": "e", "candidates": ["a"], "query_modality": "image"},
            "routing.signals.embeddings[0].query_modality: only text is compared, not 'image' (use --lenient)",
        ),
        (
            "context",
            {"name": "l", "min_tokens": "many"},
            "routing.signals.context[0].min_tokens: should be a number of tokens such as 4000 or 32K, not 'many'",
        ),
        ("context", {"name": "l", "min_tokens": 9, "max_tokens": 3}, "min_tokens: is more than max_tokens"),
        ("jailbreak", {"name": "j", "threshold": 7}, "routing.signals.jailbreak[0].threshold: should lie between"),
        ("jailbreak", {"name": "j", "on_error": "deny"}, "'deny' is none of allow, block"),
        (
            "language",
            {"name": "tlh"},
            "routing.signals.language[0].name: 'tlh' is none of the languages that are told apart (use --lenient)",
        ),
        (
            "fact_check",
            {"name": "needs_fact_check"},
            "routing.signals.fact_check[0]: no model for it is shipped: name a folder with one at "
            "global.model_catalog.modules.hallucination_mitigation.fact_check.model_id (use --lenient)",
        ),
        ("fact_check", {"name": "facts"}, "'facts' is none of needs_fact_check, no_fact_check_needed"),
        (
            "classifiers",
            {"name": "c", "type": "llm", "model": "m", "labels": ["A"]},
            "routing.signals.classifiers[0].type: a classifier of the type 'llm' is not supported, only 'local' "
            "(use --lenient)",
        ),
        ("conversation", {"name": "c", "feature": {}, "predicate": {}}, "should have one of gt, gte, lt, lte"),
        ("metadata", {"name": "m", "key": "k"}, "routing.signals.metadata[0].predicate.equals: is missing"),
        (
            "keyword",
            {"name": "k", "keywords": ["a"]},
            "routing.signals.keyword: unknown key, did you mean 'keywords'? (--lenient passes over it)",
        ),
    ],
)
def test_signals_are_refused_by_path(kind: str, entry: dict[str, object], message: str) -> None:
    assert any(message in line for line in told(signals(**{kind: [entry]}), provides=EVERYTHING))


@pytest.mark.parametrize(
    ("kind", "entry", "missing"),
    [
        ("embeddings", {"name": "e", "candidates": ["a"]}, "embedding"),
        ("jailbreak", {"name": "j"}, "safety"),
        ("pii", {"name": "p"}, "pii"),
        ("language", {"name": "es"}, "language"),
    ],
)
def test_what_no_shipped_model_can_tell_is_refused(kind: str, entry: dict[str, object], missing: str) -> None:
    text = signals(**{kind: [entry]})

    assert told(text, provides={}) == [
        f"routing.signals.{kind}[0]: needs {missing}, and nothing here computes it (use --lenient)"
    ]


def test_a_name_declared_twice() -> None:
    twice = [{"name": "k", "keywords": ["a"]}, {"name": "k", "keywords": ["b"]}]

    assert told(signals(keywords=twice)) == ["routing.signals.keywords[1].name: the keyword 'k' is declared twice"]


def rule(tree: object, **kinds: object) -> object:
    document = yaml.safe_load(signals(**kinds))
    document["routing"]["decisions"][0]["rules"] = tree
    (decision,) = read(yaml.safe_dump(document)).decisions
    return decision.rule


HARD = {"name": "c", "hard": {"candidates": ["a"]}, "easy": {"candidates": ["b"]}}


def test_a_complexity_signal_waits_for_its_composer() -> None:
    composed = {**HARD, "composer": {"type": "domain", "name": "math"}}

    assert rule({"type": "complexity", "name": "c:hard"}, complexity=[HARD]) == Holds("complexity", "c:hard")
    assert rule({"type": "complexity", "name": "c:hard"}, complexity=[composed]) == Given(
        Holds("domain", "math"), Holds("complexity", "c:hard")
    )


def test_on_error_settles_what_is_unknown() -> None:
    leaf = {"type": "domain", "name": "math", "on_error": "no_match"}

    assert rule(leaf) == Otherwise(Holds("domain", "math"), Truth.NO)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ({"type": "complexity", "name": "c"}, "rules.name: should be c:easy, c:medium or c:hard, not 'c'"),
        ({"type": "domain", "name": "math", "on_error": "skip"}, "rules.on_error: 'skip' is none of no_match, match"),
        (
            {"type": "domain", "name": "math", "predicate": {"gte": 0.5}},
            "rules: label and predicate have no meaning for the type 'domain' (use --lenient)",
        ),
        ({"type": "domain", "name": "math", "level": 3}, "rules.level: unknown key"),
    ],
)
def test_conditions_are_refused_by_path(leaf: dict[str, object], message: str) -> None:
    document = yaml.safe_load(signals(complexity=[HARD]))
    document["routing"]["decisions"][0]["rules"] = leaf

    assert any(
        line.startswith(f"routing.decisions[0].{message}")
        for line in told(yaml.safe_dump(document), provides=EVERYTHING)
    )


PLUGINS = [
    {"type": "system_prompt", "configuration": {"enabled": True, "system_prompt": "Be terse.", "mode": "replace"}},
    {"type": "fast_response", "configuration": {"message": "No."}},
    {
        "type": "header_mutation",
        "configuration": {
            "add": [{"name": "X-Tier", "value": "premium"}],
            "update": [{"name": "X-Source", "value": "onehop"}],
            "delete": ["X-Debug"],
        },
    },
    {
        "type": "request_params",
        "configuration": {"blocked_params": ["logprobs"], "max_tokens_limit": 100, "max_n": 2, "strip_unknown": True},
    },
]


def test_plugins_load() -> None:
    (decision,) = read(edited(*DECISION, "plugins", to=PLUGINS)).decisions

    assert decision.plugins == Plugins(
        SystemPrompt("Be terse.", "replace"),
        "No.",
        (("x-tier", "premium"), ("x-source", "onehop"), ("x-debug", None)),
        RequestParams(frozenset({"logprobs"}), 100, 2, True),
    )


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ({"type": "system_prompt", "configuration": {}}, "configuration.system_prompt: is missing"),
        (
            {"type": "system_prompt", "configuration": {"system_prompt": "x", "mode": "append"}},
            "configuration.mode: 'append' is neither 'replace' nor 'insert'",
        ),
        (
            {"type": "header_mutation", "configuration": {"add": [{"name": "X-Gateway-Destination-Endpoint"}]}},
            "configuration.add[0].name: the header 'X-Gateway-Destination-Endpoint' is not for a plugin to change",
        ),
        (
            {"type": "header_mutation", "configuration": {"delete": [":path"]}},
            "configuration.delete[0]: the header ':path' is not for a plugin to change",
        ),
        (
            {"type": "header_mutation", "configuration": {"add": [{"name": "x", "value": "a\r\nb: c"}]}},
            "configuration.add[0].value: has characters that no header may have",
        ),
        (
            {"type": "header_mutation", "configuration": {"delete": ["a b"]}},
            "configuration.delete[0]: 'a b' is no header name",
        ),
        (
            {"type": "request_params", "configuration": {"blocked_params": ["messages"]}},
            "configuration.blocked_params[0]: without 'messages' there is no request",
        ),
        ({"type": "request_params", "configuration": {"max_n": 0}}, "configuration.max_n: should be at least 1"),
        (
            {"type": "rag", "configuration": {"enabled": True, "top_k": 3}},
            ": plugin type 'rag' is not supported yet: this is the application's part, before the gateway "
            "(set enabled: false or use --lenient)",
        ),
    ],
)
def test_plugins_are_refused_by_path(plugin: dict[str, object], message: str) -> None:
    lines = told(edited(*DECISION, "plugins", to=[plugin]))

    assert any(line.startswith("routing.decisions[0].plugins[0]") and line.endswith(message) for line in lines), lines


def test_several_factors_load() -> None:
    multi = {
        "weights": {"quality": 0.4, "latency": 0.2, "cost": 0.2, "load": 0.2},
        "slo": {"max_tpot_ms": 200, "max_ttft_ms": 800, "max_cost_per_1m": 5.0, "max_inflight": 50},
        "latency_percentile": 95,
        "on_no_candidates": "first",
    }
    config = read(edited(*DECISION, "algorithm", to={"type": "multi_factor", "multi_factor": multi}))
    algorithm = config.decisions[0].algorithm

    assert isinstance(algorithm, Algorithm)
    assert (algorithm.type, algorithm.on_no_candidates) == ("multi_factor", "first")
    assert (algorithm.limits.ttft_ms, algorithm.limits.cost_per_1m, algorithm.limits.inflight) == (800, 5, 50)
    assert [line.split(": ")[0].rpartition(".")[2] for line in config.warnings] == [
        "max_tpot_ms",
        "latency_percentile",
    ]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"guards": [{"type": "jailbreak", "name": "x"}]}, "guards[0].name: the jailbreak 'x' is not in"),
        ({"guards": [{"type": "domain", "name": "math"}]}, "guards[0].type: 'domain' is neither"),
        ({"guards": [{"type": "pii", "name": "p", "action": "deny"}]}, "guards[0].action: 'deny' is neither"),
        ({"guards": [{"type": "pii", "name": "p", "on_unknown": "no"}]}, "guards[0].on_unknown: 'no' is neither"),
        ({"effort_under_load": [{"decision": "math"}]}, "effort_under_load[0].decision: there is no decision 'math'"),
        ({"conversation": {"prior": 2}}, "conversation.prior: should lie between 0 and 1"),
        ({"guard": []}, "guard: unknown key, did you mean 'guards'?"),
    ],
)
def test_our_own_block_is_checked_too(block: dict[str, object], message: str) -> None:
    document = {**yaml.safe_load(signals(pii=[{"name": "p"}])), "onehop": block}
    lines = told(yaml.safe_dump(document), provides=EVERYTHING)

    assert any(line.startswith(f"onehop.{message}") for line in lines), lines


def test_a_guard_that_could_not_block_is_refused_also_leniently() -> None:
    guards = {"guards": [{"type": "pii", "name": "p", "action": "block"}]}
    document = {**yaml.safe_load(signals(pii=[{"name": "p"}])), "onehop": guards}

    assert told(yaml.safe_dump(document), provides={}, lenient=True) == [
        "onehop.guards[0]: the pii 'p' cannot be computed, so it could not block"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipes": [{"name": "default", "routing": {}}]}, "recipes[0].name: there is a recipe 'default' already"),
        (
            {"entrypoints": [{"model_names": ["v"], "recipe": "none"}]},
            "entrypoints[0].recipe: there is no recipe 'none'",
        ),
        (
            {"entrypoints": [{"model_names": ["big"], "recipe": "default"}]},
            "entrypoints[0].model_names[0]: 'big' is the name of something else already",
        ),
    ],
)
def test_recipes_are_refused_by_path(change: dict[str, object], message: str) -> None:
    assert message in told(yaml.safe_dump({**yaml.safe_load(BASE), **change}))


@pytest.mark.parametrize(
    ("families", "family", "message"),
    [
        ({"q": {"type": "chat_template_kwarg", "parameter": "x"}}, "q", "did you mean 'chat_template_kwargs'?"),
        ({"q": {"type": "chat_template_kwargs"}}, "q", "providers.defaults.reasoning_families.q.parameter: is missing"),
        ({}, "q", "providers.models[1].reasoning_family: 'q' is not in providers.defaults.reasoning_families"),
    ],
)
def test_reasoning_families_are_checked(families: object, family: str, message: str) -> None:
    document = yaml.safe_load(BASE)
    document["providers"]["defaults"]["reasoning_families"] = families
    document["providers"]["models"][1]["reasoning_family"] = family

    assert any(message in line for line in told(yaml.safe_dump(document)))


def test_of_the_guides_gateway_values_only_caches_and_helpers_are_refused() -> None:
    lines = told(compat("ai-gateway-values.yaml").read_text())

    assert [line.removeprefix("config.").split(":")[0] for line in lines] == [
        "global.services.response_api",
        "global.stores.response_cache",
        "global.integrations.tools",
        "routing.decisions[2].plugins[0]",
        "routing.decisions[6].plugins[0]",
        "routing.decisions[14].plugins[0]",
    ]


def test_the_guides_gateway_values_act_when_read_leniently() -> None:
    config = load_config(compat("ai-gateway-values.yaml"), lenient=True)
    by_name = {decision.name: decision for decision in config.decisions}
    (thinking,) = [judge for judge in config.plan.judges if isinstance(judge, Keywords)]
    prompt = by_name["law_decision"].plugins.system_prompt

    assert by_name["math_decision"].models == ("math-expert",)
    assert by_name["math_decision"].refs[0].use_reasoning is True
    assert prompt is not None
    assert prompt.mode == "replace"
    assert thinking.keywords == ("urgent", "immediate", "asap", "think", "careful")
    assert config.cards["base-model"].family is not None


def test_of_the_exhaustive_file_everything_that_has_a_judge_is_read() -> None:
    config = load_config(compat("canonical-exhaustive.yaml"), lenient=True, provides=EVERYTHING)
    kinds = {judge.key[0] for judge in config.plan.judges}

    assert kinds == {
        *("keyword", "domain", "embedding", "complexity", "context", "jailbreak", "pii", "language"),
        *("conversation", "metadata"),
    }
    assert {"vllm-sr/exhaustive-default", "vllm-sr/exhaustive-privacy", "exhaustive-reference"} <= config.aliases
    assert config.served["qwen3-8b"] == "qwen3-8b-instruct"
    decisions = {decision.name: decision for decision in config.decisions}
    assert decisions["multi_factor_route"].algorithm.type == "multi_factor"
    assert len(decisions) == 23
    assert config.plans["vllm-sr/exhaustive-privacy"].strategy == "confidence"


def test_labels_of_a_classifier_are_asked_for_with_bounds(tmp_path: Path) -> None:
    from tests.semantic.onnx_files import classifier

    classifier(tmp_path / "m", ("SAFE", "RISKY"), {"x": "RISKY"})
    document = yaml.safe_load(signals(classifiers=[{"name": "c", "type": "local", "model_path": "m"}]))
    document["routing"]["decisions"][0]["rules"] = {"type": "classifier", "name": "c", "label": "RISKY"}
    config = read_config(yaml.safe_dump(document), folder=tmp_path)

    assert isinstance(config.decisions[0].rule, Scores)
    assert list(config.own) == ["classifier c"]
