"""Reads decisions: rule trees, model references, what is done to their requests."""

from semantic.config_models import effort_of
from semantic.config_names import KINDS, Names
from semantic.config_plugins import read_algorithm, read_plugins
from semantic.config_signals import read_bounds
from semantic.judges.meaning import LEVELS
from semantic.plan import ModelRef
from semantic.reading import Section, nearest
from semantic.rules import (
    AllOf,
    AnyOf,
    Bounds,
    Decision,
    Given,
    Holds,
    Not,
    Otherwise,
    Rule,
    Scores,
    Truth,
    Unsupported,
)

OPERATORS = ("AND", "OR", "NOT")
UNSUPPORTED_KEYS = ("emits", "adaptations", "candidateIterations", "output_contract", "output_contract_spec")
_ON_ERROR = {"no_match": Truth.NO, "match": Truth.YES}


def read_composers(signals: Section, names: Names) -> None:
    """The rules that complexity signals wait for; read when every signal is known."""
    for section in signals.sections("complexity"):
        if section.raw("composer"):
            names.composed[section.text("name")] = read_rule(section.section("composer"), names)


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
    decision = Decision(
        name=section.required("name"),
        rule=read_rule(section.section("rules"), names) if section.raw("rules") else AllOf(),
        refs=_refs(section, names),
        priority=section.whole("priority"),
        tier=section.whole("tier"),
        description=section.text("description"),
        algorithm=read_algorithm(section.section("algorithm")),
        plugins=read_plugins(section),
        never_degrade=section.flag("never_degrade", default=False),
    )
    section.ignore("annotations")
    if not decision.refs and decision.plugins.fast_response is None:
        section.report.mistake(section.at("modelRefs"), "names no model")
    for key in UNSUPPORTED_KEYS:
        if section.raw(key):
            section.report.unsupported(section.at(key), f"{key} is not supported yet")
    section.done()
    return decision


def read_rule(node: Section, names: Names) -> Rule:
    """A tree, or one condition."""
    if "operator" in node or "conditions" in node:
        return _tree(node, names)
    kind, name = node.required("type"), node.required("name")
    rule = _leaf(node, kind, name, names)
    on_error = node.text("on_error")
    node.done()
    if not on_error:
        return rule
    if on_error not in _ON_ERROR:
        node.report.mistake(node.at("on_error"), f"{on_error!r} is none of {', '.join(_ON_ERROR)}")
    return Otherwise(rule, _ON_ERROR.get(on_error, Truth.UNKNOWN))


def _leaf(node: Section, kind: str, name: str, names: Names) -> Rule:
    if kind not in KINDS:
        if kind:
            node.report.mistake(node.at("type"), f"there is no signal type {kind!r}{nearest(kind, KINDS)}")
        return Unsupported(kind, name)
    declared = names.signals.get(kind, {})
    base, _, level = name.partition(":") if kind == "complexity" else (name, "", "")
    if name and base not in declared and (declared or kind not in ("projection", "modality")):
        where = f"routing.signals.{KINDS[kind]}"
        node.report.mistake(node.at("name"), f"the {kind} {base!r} is not in {where}{nearest(base, declared)}")
        return Unsupported(kind, name)
    if kind == "complexity" and level not in LEVELS:
        node.report.mistake(node.at("name"), f"should be {base}:easy, {base}:medium or {base}:hard, not {name!r}")
    label = node.text("label")
    bounds = read_bounds(node.section("predicate")) if node.raw("predicate") else None
    if declared.get(base) is None:
        node.report.unsupported(node.path, f"the {kind} {base!r} cannot be computed, so this never holds")
        return Unsupported(kind, name)
    return _scored(node, kind, name, label, bounds) or _composed(names, base, Holds(kind, name))


def _scored(node: Section, kind: str, name: str, label: str, bounds: Bounds | None) -> Rule | None:
    """Only a classifier's labels have probabilities to ask for."""
    if kind == "classifier":
        if label:
            return Scores(kind, name, label, bounds or Bounds(gte=0.5))
        node.report.mistake(node.at("label"), "is missing: a classifier's condition asks for one of its labels")
    elif label or bounds is not None:
        node.report.unsupported(node.path, f"label and predicate have no meaning for the type {kind!r}")
    return None


def _composed(names: Names, base: str, leaf: Holds) -> Rule:
    if leaf.kind == "complexity" and base in names.composed:
        return Given(names.composed[base], leaf)
    return leaf


def _tree(node: Section, names: Names) -> Rule:
    operator = node.required("operator").upper()
    children = tuple(read_rule(child, names) for child in node.sections("conditions"))
    node.done()
    if operator == "NOT":
        if len(children) != 1:
            node.report.mistake(node.at("conditions"), f"NOT takes exactly one condition, not {len(children)}")
        return Not(children[0]) if children else AllOf()
    if operator and operator not in OPERATORS:
        node.report.mistake(node.at("operator"), f"{operator!r} is none of {', '.join(OPERATORS)}")
    return AnyOf(children) if operator == "OR" else AllOf(children)


def _refs(section: Section, names: Names) -> tuple[ModelRef, ...]:
    """Heaviest first; in file order where weights are equal."""
    refs: list[ModelRef] = []
    for ref in section.sections("modelRefs"):
        model, lora = ref.required("model"), ref.text("lora_name")
        card = names.models.get(model)
        if model and card is None:
            hint = nearest(model, names.models)
            ref.report.mistake(ref.at("model"), f"the model {model!r} is not in routing.modelCards{hint}")
        elif card and lora and lora not in card.loras:
            hint = nearest(lora, card.loras)
            ref.report.mistake(ref.at("lora_name"), f"{lora!r} is not among the loras of {model!r}{hint}")
        reasons = ref.flag("use_reasoning", default=False) if "use_reasoning" in ref else None
        effort = effort_of(ref, "reasoning_effort")
        if reasons and card is not None and card.family is None:
            ref.report.note(ref.at("use_reasoning"), f"changes nothing, {model!r} has no reasoning_family")
        weight = ref.number("weight", 1.0)
        if weight < 0:
            ref.report.mistake(ref.at("weight"), "should not be negative")
        ref.ignore("reasoning_description")
        refs.append(ModelRef(model, lora or None, weight, reasons, effort))
        ref.done()
    return tuple(sorted(refs, key=lambda ref: -ref.weight))
