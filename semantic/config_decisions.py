"""Reads domains and decisions: rule trees, model references, plugins."""

from collections.abc import Mapping
from dataclasses import dataclass

from semantic.categories import CATEGORIES
from semantic.reading import Report, Section, nearest
from semantic.rules import AllOf, AnyOf, Decision, Domain, Not, Rule, Unsupported

OPERATORS = ("AND", "OR", "NOT")
SIGNAL_KINDS = frozenset(
    {
        "domain",
        "keyword",
        "embedding",
        "complexity",
        "context",
        "jailbreak",
        "pii",
        "language",
        "fact_check",
        "user_feedback",
        "authz",
        "preference",
        "reask",
        "structure",
        "modality",
        "conversation",
        "event",
        "metadata",
        "kb",
        "classifier",
        "projection",
    }
)
PLUGIN_KINDS = frozenset(
    {
        "system_prompt",
        "fast_response",
        "header_mutation",
        "response_cache",
        "semantic-cache",
        "request_params",
        "tools",
        "tool_selection",
        "router_replay",
        "context_compression",
        "memory",
        "rag",
        "hallucination",
        "response_jailbreak",
        "image_gen",
    }
)
SWITCH_OFF = "set enabled: false or use --lenient"


@dataclass(frozen=True, slots=True)
class Names:
    """What decisions may refer to: LoRA names by model, categories by domain."""

    models: Mapping[str, frozenset[str]]
    domains: Mapping[str, frozenset[str]]
    reasoning: frozenset[str] = frozenset()
    """Models with a reasoning family: for them vSR edits the request's reasoning fields."""


def read_domains(signals: Section) -> dict[str, frozenset[str]]:
    """The categories of each domain. A domain without a list stands for the category of its name."""
    out: dict[str, frozenset[str]] = {}
    for domain in signals.sections("domains"):
        name = domain.required("name")
        if name in out:
            domain.report.mistake(domain.at("name"), f"the domain {name!r} is declared twice")
        listed = domain.texts("mmlu_categories")
        categories = [(f"{domain.at('mmlu_categories')}[{n}]", text) for n, text in enumerate(listed)]
        wanted = categories or [(domain.at("name"), name)]
        out[name] = frozenset(_category(path, text, domain.report) for path, text in wanted if text)
        domain.ignore("description")
        if domain.raw("model_scores"):
            domain.report.unsupported(domain.at("model_scores"), "scores of models by domain are not supported yet")
        domain.done()
    return out


def _category(path: str, text: str, report: Report) -> str:
    """The category as the classifier names it; `computer_science` is accepted for `computer science`."""
    name = text.replace("_", " ")
    if name not in CATEGORIES:
        hint = nearest(name, CATEGORIES)
        report.mistake(path, f"{text!r} is not one of the {len(CATEGORIES)} MMLU-Pro categories{hint}")
    return name


def read_decisions(routing: Section, names: Names) -> tuple[Decision, ...]:
    """Every decision, in file order."""
    out: dict[str, Decision] = {}
    for section in routing.sections("decisions"):
        decision = _decision(section, names)
        if decision.name in out:
            section.report.mistake(section.at("name"), f"two decisions have the name {decision.name!r}")
        out[decision.name] = decision
    return tuple(out.values())


def _decision(section: Section, names: Names) -> Decision:
    weighed = _models(section, names)
    decision = Decision(
        name=section.required("name"),
        rule=_rule(section.section("rules"), names) if "rules" in section else AllOf(),
        models=tuple(weighed),
        priority=section.whole("priority"),
        tier=section.whole("tier"),
        description=section.text("description"),
        weights=tuple(weighed.values()),
        never_degrade=section.flag("never_degrade", default=False),
    )
    section.ignore("rules", "annotations")
    _algorithm(section.section("algorithm"))
    for plugin in section.sections("plugins"):
        _plugin(plugin)
    for key in ("emits", "adaptations", "candidateIterations", "output_contract"):
        if section.raw(key):
            section.report.unsupported(section.at(key), f"{key} is not supported yet")
    section.done()
    return decision


def _rule(node: Section, names: Names) -> Rule:
    if "operator" in node or "conditions" in node:
        return _tree(node, names)
    kind, name = node.required("type"), node.required("name")
    if node.raw("predicate") or node.raw("on_error"):
        node.report.unsupported(node.path, "predicate and on_error of a condition are not supported yet")
    node.done()
    if kind == "domain":
        if name and name not in names.domains:
            hint = nearest(name, names.domains)
            node.report.mistake(node.at("name"), f"the domain {name!r} is not in routing.signals.domains{hint}")
        return Domain(name, names.domains.get(name, frozenset()))
    if kind in SIGNAL_KINDS:
        node.report.unsupported(node.at("type"), f"conditions of the type {kind!r} are not supported yet")
    elif kind:
        node.report.mistake(node.at("type"), f"there is no signal type {kind!r}{nearest(kind, SIGNAL_KINDS)}")
    return Unsupported(kind, name)


def _tree(node: Section, names: Names) -> Rule:
    operator = node.required("operator").upper()
    children = tuple(_rule(child, names) for child in node.sections("conditions"))
    node.done()
    if operator == "NOT":
        if len(children) != 1:
            node.report.mistake(node.at("conditions"), f"NOT takes exactly one condition, not {len(children)}")
        return Not(children[0]) if children else AllOf()
    if operator and operator not in OPERATORS:
        node.report.mistake(node.at("operator"), f"{operator!r} is none of {', '.join(OPERATORS)}")
    return AnyOf(children) if operator == "OR" else AllOf(children)


def _models(section: Section, names: Names) -> dict[str, float]:
    """Model or LoRA names with their weights, heaviest first; in file order where weights are equal."""
    weighed: list[tuple[float, str]] = []
    for ref in section.sections("modelRefs"):
        model, lora = ref.required("model"), ref.text("lora_name")
        if model and model not in names.models:
            ref.report.mistake(
                ref.at("model"), f"the model {model!r} is not in routing.modelCards{nearest(model, names.models)}"
            )
        elif lora and lora not in names.models.get(model, frozenset()):
            hint = nearest(lora, names.models[model])
            ref.report.mistake(ref.at("lora_name"), f"{lora!r} is not among the loras of {model!r}{hint}")
        weighed.append((ref.number("weight", 1.0), lora or model))
        _reasoning(ref, model, names)
        ref.ignore("reasoning_effort", "reasoning_description")
        ref.done()
    if not weighed:
        section.report.mistake(section.at("modelRefs"), "names no model")
    out: dict[str, float] = {}
    for weight, name in sorted(weighed, key=lambda pair: -pair[0]):
        out.setdefault(name, weight)
    return out


def _reasoning(ref: Section, model: str, names: Names) -> None:
    """Without a reasoning family the setting changes nothing, in vSR either; with one it would edit the body."""
    wanted = ref.flag("use_reasoning", default=False)
    if "use_reasoning" in ref and model in names.reasoning:
        ref.report.unsupported(ref.at("use_reasoning"), "editing the request's reasoning fields is not supported yet")
    elif wanted:
        ref.report.note(ref.at("use_reasoning"), f"changes nothing, {model!r} has no reasoning_family")


def _algorithm(algorithm: Section) -> None:
    kind = algorithm.text("type", "static")
    if kind != "static":
        algorithm.report.unsupported(
            algorithm.at("type"), f"the algorithm {kind!r} is not supported yet, only 'static'"
        )
    elif list(algorithm.present()):
        algorithm.done()


def _plugin(plugin: Section) -> None:
    """No plugin is supported yet: one that is on is refused, one that is off is fine."""
    kind = plugin.required("type")
    if kind and kind not in PLUGIN_KINDS:
        plugin.report.mistake(plugin.at("type"), f"there is no plugin type {kind!r}{nearest(kind, PLUGIN_KINDS)}")
    elif (
        kind and plugin.section("configuration").flag("enabled", default=True) and plugin.flag("enabled", default=True)
    ):
        plugin.report.unsupported(plugin.path, f"plugin type {kind!r} is not supported yet", SWITCH_OFF)
    plugin.ignore("configuration", "enabled")
    plugin.done()
