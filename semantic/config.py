"""The semantic configuration: the part of vSR's v0.3 canonical YAML that we act on, typed and checked.

The ground rule: what this version cannot do is refused with its path, unless it is switched off; in lenient mode it
is reported and has no effect. Nothing is dropped in silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semantic.config_decisions import read_composers, read_decisions
from semantic.config_global import read_global
from semantic.config_models import Providers, check_models, read_cards, read_providers
from semantic.config_names import Names
from semantic.config_onehop import Extras, read_onehop
from semantic.config_signals import Given, read_signals
from semantic.instead import instead
from semantic.judges.known import Judge
from semantic.own.declared import Examine, OwnModel, unexamined
from semantic.own.folder import examiner
from semantic.plan import Card
from semantic.reading import ConfigError, Report, Section, nearest, parse_yaml
from semantic.rules import Decision, Strategy
from semantic.signals.shipped import PROVIDES

__all__ = ["ConfigError", "Plan", "SemanticConfig", "load_config", "read_config"]

VERSION = "v0.3"
ALIASES = frozenset({"auto", "MoM", "vllm-sr/auto"})
"""Model names that mean: choose for me."""
HELM_WRAPPERS = ("config", "configOverride")
OLDER_KEYS = frozenset({"model_config", "vllm_endpoints", "categories", "default_model", "decisions", "classifier"})
OLDER_HINT = f"is missing, and this looks like a layout older than {VERSION}: `onehop migrate FILE` converts it"
DEFAULT_RECIPE = "default"
FILE_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """One routing profile (vSR: a recipe)."""

    decisions: tuple[Decision, ...] = ()
    strategy: Strategy = "priority"
    judges: tuple[Judge, ...] = ()


@dataclass(frozen=True, slots=True)
class SemanticConfig:
    """What the router works by. `plans` are by the model name that asks for them; every other alias means `plan`."""

    default_model: str
    plan: Plan = field(default_factory=Plan)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    aliases: frozenset[str] = ALIASES
    cards: Mapping[str, Card] = field(default_factory=dict)
    served: Mapping[str, str] = field(default_factory=dict)
    """What a model's servers call it, where that is another name (`provider_model_id`)."""
    default_effort: str = "high"
    threshold: float | None = None
    """Confidence below which a category counts as the fallback; None means the model's own default."""
    fallback_category: str = "other"
    own: Mapping[str, OwnModel] = field(default_factory=dict)
    own_domain: str | None = None
    extras: Extras = field(default_factory=Extras)
    warnings: tuple[str, ...] = ()

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Those of the default plan."""
        return self.plan.decisions

    @property
    def strategy(self) -> Strategy:
        """That of the default plan."""
        return self.plan.strategy


def load_config(
    path: Path, *, lenient: bool = False, provides: Mapping[str, tuple[str, ...]] = PROVIDES
) -> SemanticConfig:
    """Reads a file; ConfigError says where a mistake is, OSError that it cannot be read."""
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError("the file", f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as broken:
        raise ConfigError("the file", "is not UTF-8 text") from broken
    return read_config(text, lenient=lenient, provides=provides, folder=path.parent)


def read_config(
    text: str,
    *,
    lenient: bool = False,
    provides: Mapping[str, tuple[str, ...]] = PROVIDES,
    folder: Path | None = None,
) -> SemanticConfig:
    """Reads a document, bare or below the Helm chart's `config:` or `configOverride:`.

    `provides` is what signals may need of the shipped models; `folder` is where folders of models are looked for.
    """
    report = Report(lenient=lenient)
    document = parse_yaml(text)
    if document is None:
        raise ConfigError("", "the file is empty")
    examine = unexamined if folder is None else examiner(folder)
    config = _read_document(_unwrapped(document, report), report, provides, examine)
    report.raise_mistakes()
    return config


def _unwrapped(document: object, report: Report) -> Section:
    """The canonical document; a Helm values file keeps its other keys to itself."""
    if isinstance(document, dict) and "version" not in document:
        for key in HELM_WRAPPERS:
            if isinstance(document.get(key), dict):
                return Section(document[key], key, report)
    return Section(document, "", report)


def _read_document(
    top: Section, report: Report, provides: Mapping[str, tuple[str, ...]], examine: Examine
) -> SemanticConfig:
    if "version" not in top and OLDER_KEYS & set(top.present()):
        report.mistake(top.at("version"), OLDER_HINT)
        report.raise_mistakes()
    version = top.required("version")
    if version and version != VERSION:
        report.mistake(top.at("version"), f"{version!r} is not supported, this reads {VERSION!r}")
    if top.sections("listeners"):
        report.note(top.at("listeners"), "the gateway listens, not OneHop; they have no effect")
    providers = read_providers(top.section("providers"))
    settings = read_global(top.section("global"), examine)
    routing = top.section("routing")
    cards = read_cards(routing, providers)
    check_models(providers, cards, report)
    given = Given(provides, settings, examine)
    domain = settings.modules["domain"]
    if domain.own is not None:
        given.own[domain.own.name] = domain.own
    names = Names(cards)
    plan = _read_plan(routing, names, given)
    plans = _read_plans(top, cards, given, plan)
    extras = read_onehop(top.section("onehop"), names, plan.decisions)
    top.done()
    return SemanticConfig(
        default_model=providers.default_model,
        plan=plan,
        plans=plans,
        aliases=ALIASES | settings.auto_names | frozenset(plans),
        cards=cards,
        served=_served(providers),
        default_effort=providers.default_effort,
        threshold=domain.threshold,
        fallback_category=settings.fallback_category,
        own=given.own,
        own_domain=None if domain.own is None else domain.own.name,
        extras=extras,
        warnings=tuple(report.warnings),
    )


def _read_plan(routing: Section, names: Names, given: Given) -> Plan:
    strategy = _strategy(routing)
    signals = routing.section("signals")
    read_signals(signals, names, given)
    if routing.raw("projections"):
        routing.report.unsupported(
            routing.at("projections"), f"projections are not supported yet{instead('projections')}"
        )
        _projected(routing.section("projections"), names)
    read_composers(signals, names)
    decisions = read_decisions(routing, names)
    routing.done()
    return Plan(decisions, strategy, names.judges())


def _projected(projections: Section, names: Names) -> None:
    """The names that conditions may refer to, so that they can be told from typing mistakes."""
    for mapping in projections.sections("mappings"):
        for output in mapping.sections("outputs"):
            names.signals["projection"][output.text("name")] = None


def _read_plans(top: Section, cards: Mapping[str, Card], given: Given, default: Plan) -> dict[str, Plan]:
    """The recipes, by the model names that lead to them."""
    recipes = {DEFAULT_RECIPE: default}
    for section in top.sections("recipes"):
        name = section.required("name")
        section.ignore("description")
        routing = section.section("routing")
        if routing.raw("modelCards"):
            routing.report.unsupported(routing.at("modelCards"), "a recipe has the models of the file, none of its own")
        if name == DEFAULT_RECIPE or name in recipes:
            section.report.mistake(section.at("name"), f"there is a recipe {name!r} already")
        recipes[name] = _read_plan(routing, Names(cards), given)
        section.done()
    plans: dict[str, Plan] = {}
    for section in top.sections("entrypoints"):
        recipe = section.required("recipe")
        if recipe and recipe not in recipes:
            hint = nearest(recipe, recipes)
            section.report.mistake(section.at("recipe"), f"there is no recipe {recipe!r}{hint}")
        for n, alias in enumerate(section.texts("model_names")):
            if alias in cards or alias in plans:
                path = f"{section.at('model_names')}[{n}]"
                section.report.mistake(path, f"{alias!r} is the name of something else already")
            plans[alias] = recipes.get(recipe, default)
        section.done()
    return plans


def _served(providers: Providers) -> dict[str, str]:
    return {name: called for name, called in providers.served.items() if called != name}


def _strategy(routing: Section) -> Strategy:
    name = routing.text("strategy", "priority")
    if name == "confidence":
        return "confidence"
    if name != "priority":
        routing.report.mistake(routing.at("strategy"), f"{name!r} is neither 'priority' nor 'confidence'")
    return "priority"
