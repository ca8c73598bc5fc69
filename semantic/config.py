"""The semantic configuration: the part of vSR's v0.3 canonical YAML that we act on, typed and checked.

The ground rule: what this version cannot do is refused with its path, unless it is switched off; in lenient mode it
is reported and has no effect. Nothing is dropped in silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semantic.cards import Card
from semantic.config_decisions import Names, read_decisions, read_domains
from semantic.config_global import GlobalSettings, read_global
from semantic.reading import ConfigError, Report, Section, nearest, parse_yaml
from semantic.rules import Decision, Strategy

__all__ = ["ConfigError", "SemanticConfig", "load_config", "read_config"]

VERSION = "v0.3"
ALIASES = frozenset({"auto", "MoM", "vllm-sr/auto"})
"""Model names that mean: choose for me."""
HELM_WRAPPERS = ("config", "configOverride")
OLDER_KEYS = frozenset({"model_config", "vllm_endpoints", "categories", "default_model", "decisions", "classifier"})


@dataclass(frozen=True, slots=True)
class SemanticConfig:
    """What the router works by."""

    default_model: str
    decisions: tuple[Decision, ...]
    aliases: frozenset[str] = ALIASES
    strategy: Strategy = "priority"
    threshold: float | None = None
    """Confidence below which a category counts as `other`; None means the model's own default."""
    warnings: tuple[str, ...] = ()
    cards: Mapping[str, Card] = field(default_factory=dict)
    """By model; an adapter has the card of its base model."""


def load_config(path: Path, *, lenient: bool = False) -> SemanticConfig:
    """Reads a file; ConfigError says where a mistake is, OSError that it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as broken:
        raise ConfigError("the file", "is not UTF-8 text") from broken
    return read_config(text, lenient=lenient)


def read_config(text: str, *, lenient: bool = False) -> SemanticConfig:
    """Reads a document, bare or below the Helm chart's `config:` or `configOverride:`."""
    report = Report(lenient=lenient)
    document = parse_yaml(text)
    if document is None:
        raise ConfigError("", "the file is empty")
    config = _read_document(_unwrapped(document, report), report)
    report.raise_mistakes()
    return config


def _unwrapped(document: object, report: Report) -> Section:
    """The canonical document; a Helm values file keeps its other keys to itself."""
    if isinstance(document, dict) and "version" not in document:
        for key in HELM_WRAPPERS:
            if isinstance(document.get(key), dict):
                return Section(document[key], key, report)
    return Section(document, "", report)


def _read_document(top: Section, report: Report) -> SemanticConfig:
    if "version" not in top and OLDER_KEYS & set(top.present()):
        report.mistake(top.at("version"), f"is missing, and this looks like a layout older than {VERSION}")
        report.raise_mistakes()
    version = top.required("version")
    if version and version != VERSION:
        report.mistake(top.at("version"), f"{version!r} is not supported, this reads {VERSION!r}")
    if top.sections("listeners"):
        report.note(top.at("listeners"), "the gateway listens, not OneHop; they have no effect")
    providers = _read_providers(top.section("providers"))
    routing = top.section("routing")
    loras, cards = _read_cards(routing)
    names = Names(models=loras, domains=_read_signals(routing), reasoning=providers.reasoning)
    _check_models(providers, names, report)
    strategy = _strategy(routing)
    decisions = read_decisions(routing, names)
    if routing.raw("projections"):
        report.unsupported(routing.at("projections"), "projections are not supported yet")
    routing.done()
    settings: GlobalSettings = read_global(top.section("global"))
    for key in ("entrypoints", "recipes"):
        if top.raw(key):
            report.unsupported(top.at(key), f"{key} are not supported yet")
    top.done()
    return SemanticConfig(
        default_model=providers.default_model,
        decisions=decisions,
        aliases=ALIASES | settings.auto_names,
        strategy=strategy,
        threshold=settings.threshold,
        warnings=tuple(report.warnings),
        cards={**{lora: cards[model] for model, own in loras.items() for lora in own}, **cards},
    )


@dataclass(frozen=True, slots=True)
class _Providers:
    """Where each model is named, which one is the default, and which have a reasoning family."""

    default_model: str
    default_path: str
    paths: Mapping[str, str]
    reasoning: frozenset[str]


def _read_providers(providers: Section) -> _Providers:
    """The models' names. Where they run is the gateway's business: InferencePools say it."""
    defaults = providers.section("defaults")
    default_model = defaults.required("default_model")
    defaults.ignore("reasoning_families", "default_reasoning_effort")
    defaults.done()
    paths: dict[str, str] = {}
    reasoning: set[str] = set()
    for model in providers.sections("models"):
        name = model.required("name")
        if name in paths:
            model.report.mistake(model.at("name"), f"{name!r} is already the name at {paths[name]}")
        paths[name] = model.at("name")
        if model.text("reasoning_family"):
            reasoning.add(name)
        if (served := model.text("provider_model_id")) and served != name:
            message = "the request's model becomes the model's name here, not the provider's id"
            model.report.unsupported(model.at("provider_model_id"), message)
        if model.text("api_format", "openai") != "openai":
            model.report.unsupported(model.at("api_format"), "only the OpenAI format is supported")
        model.ignore("pricing", "external_model_ids", "backend_refs", "reliability")
        model.done()
    providers.done()
    return _Providers(default_model, defaults.at("default_model"), paths, frozenset(reasoning))


def _read_cards(routing: Section) -> tuple[dict[str, frozenset[str]], dict[str, Card]]:
    """LoRA names by model name, and what the cards say."""
    out: dict[str, frozenset[str]] = {}
    cards: dict[str, Card] = {}
    for card in routing.sections("modelCards"):
        name = card.required("name")
        if name in out:
            card.report.mistake(card.at("name"), f"the model {name!r} has two cards")
        loras = []
        for lora in card.sections("loras"):
            loras.append(lora.required("name"))
            lora.ignore("description")
            lora.done()
        out[name] = frozenset(loras)
        cards[name] = _read_card(card)
        card.ignore("param_size", "description", "tags")
        card.done()
    return out, cards


def _read_card(card: Section) -> Card:
    """The parts of a card that we act on."""
    window = card.whole("context_window_size")
    if "context_window_size" in card and window <= 0:
        card.report.mistake(card.at("context_window_size"), "should be a number of tokens above 0")
    quality = card.number("quality_score", 0.0) if "quality_score" in card else None
    if quality is not None and not 0 <= quality <= 1:
        card.report.mistake(card.at("quality_score"), "should lie between 0 and 1")
    listed, modality = card.texts("capabilities"), card.text("modality").lower()
    words = frozenset([*listed, modality] if modality == "omni" else listed)
    return Card(window or None, quality, words if "capabilities" in card else None)


def _read_signals(routing: Section) -> Mapping[str, frozenset[str]]:
    """The categories of each declared domain; every other kind of signal is refused."""
    signals = routing.section("signals")
    domains = read_domains(signals)
    for key in signals.present():
        if key != "domains" and signals.raw(key):
            signals.report.unsupported(signals.at(key), f"signals of the kind {key!r} are not supported yet")
    return domains


def _strategy(routing: Section) -> Strategy:
    name = routing.text("strategy", "priority")
    if name == "confidence":
        return "confidence"
    if name != "priority":
        routing.report.mistake(routing.at("strategy"), f"{name!r} is neither 'priority' nor 'confidence'")
    return "priority"


def _check_models(providers: _Providers, names: Names, report: Report) -> None:
    """Every provider model and the default model must have a card."""
    for name, path in ((providers.default_model, providers.default_path), *providers.paths.items()):
        if name and name not in names.models:
            report.mistake(path, f"the model {name!r} is not in routing.modelCards{nearest(name, names.models)}")
