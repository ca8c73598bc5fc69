"""Reads providers and model cards: names, adapters, capabilities, prices, reasoning families."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from semantic.plan import Card, Family, FamilyType
from semantic.reading import Report, Section, nearest

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Providers:
    """Where each model is named, which one is the default, what its servers call it, how it is told to reason."""

    default_model: str
    default_path: str
    default_effort: str
    paths: Mapping[str, str]
    served: Mapping[str, str]
    families: Mapping[str, Family]
    costs: Mapping[str, float]


def read_providers(providers: Section) -> Providers:
    """The models' names. Where they run is the gateway's business: InferencePools say it."""
    defaults = providers.section("defaults")
    default_model = defaults.required("default_model")
    families = {key: _family(defaults.section("reasoning_families").section(key)) for key in _keys(defaults)}
    effort = effort_of(defaults, "default_reasoning_effort")
    defaults.done()
    paths: dict[str, str] = {}
    served: dict[str, str] = {}
    reasoning: dict[str, Family] = {}
    costs: dict[str, float] = {}
    for model in providers.sections("models"):
        name = model.required("name")
        if name in paths:
            model.report.mistake(model.at("name"), f"{name!r} is already the name at {paths[name]}")
        paths[name] = model.at("name")
        wanted = model.text("reasoning_family")
        if wanted and wanted not in families:
            hint = nearest(wanted, families)
            message = f"{wanted!r} is not in providers.defaults.reasoning_families{hint}"
            model.report.mistake(model.at("reasoning_family"), message)
        elif wanted and (family := families[wanted]) is not None:
            reasoning[name] = family
        if called := model.text("provider_model_id"):
            served[name] = called
        if model.text("api_format", "openai") != "openai":
            model.report.unsupported(model.at("api_format"), "only the OpenAI format is supported")
        if (cost := _cost(model.section("pricing"))) is not None:
            costs[name] = cost
        model.ignore("external_model_ids", "backend_refs", "reliability")
        model.done()
    providers.done()
    return Providers(default_model, defaults.at("default_model"), effort or "high", paths, served, reasoning, costs)


def read_cards(routing: Section, providers: Providers) -> dict[str, Card]:
    """Every card, with what the providers say of its model."""
    out: dict[str, Card] = {}
    for section in routing.sections("modelCards"):
        card = _card(section)
        if card.name in out:
            section.report.mistake(section.at("name"), f"the model {card.name!r} has two cards")
        out[card.name] = replace(
            card, cost_per_1m=providers.costs.get(card.name), family=providers.families.get(card.name)
        )
    return out


def check_models(providers: Providers, cards: Mapping[str, Card], report: Report) -> None:
    """Every provider model and the default model must have a card."""
    for name, path in ((providers.default_model, providers.default_path), *providers.paths.items()):
        if name and name not in cards:
            report.mistake(path, f"the model {name!r} is not in routing.modelCards{nearest(name, cards)}")


def effort_of(section: Section, key: str) -> str | None:
    """One of the efforts that engines know, or None."""
    effort = section.text(key)
    if effort and effort not in EFFORTS:
        section.report.mistake(section.at(key), f"{effort!r} is none of {', '.join(EFFORTS)}{nearest(effort, EFFORTS)}")
    return effort or None


def _keys(defaults: Section) -> list[str]:
    return list(defaults.section("reasoning_families").present())


def _family(section: Section) -> Family | None:
    kind, parameter = section.required("type"), section.required("parameter")
    section.done()
    known: tuple[FamilyType, ...] = get_args(FamilyType)
    for one in known:
        if one == kind and parameter:
            return Family(one, parameter)
    if kind and kind not in known:
        section.report.mistake(section.at("type"), f"{kind!r} is none of {', '.join(known)}{nearest(kind, known)}")
    return None


def _card(section: Section) -> Card:
    name = section.required("name")
    loras = []
    for lora in section.sections("loras"):
        loras.append(lora.required("name"))
        lora.ignore("description")
        lora.done()
    listed, modality = section.texts("capabilities"), section.text("modality").lower()
    capabilities = {*listed, modality} if modality == "omni" else set(listed)
    context = section.whole("context_window_size") if "context_window_size" in section else None
    if context is not None and context <= 0:
        section.report.mistake(section.at("context_window_size"), "should be a number of tokens above 0")
    section.ignore("param_size", "description", "tags")
    quality = section.number("quality_score", 0.0) if "quality_score" in section else None
    if quality is not None and not 0 <= quality <= 1:
        section.report.mistake(section.at("quality_score"), "should lie between 0 and 1")
    section.done()
    # Without a list nothing is known: such a model is never held to lack something.
    return Card(name, frozenset(loras), frozenset(capabilities) if listed else None, quality, context)


def _cost(pricing: Section) -> float | None:
    """Prompt and completion together, of a million tokens each: only the order among models counts."""
    prices = [pricing.number(key, 0.0) for key in ("prompt_per_1m", "completion_per_1m") if key in pricing]
    pricing.ignore("currency", "cached_input_per_1m", "cache_write_per_1m", "prompt_per_1m", "completion_per_1m")
    pricing.done()
    return sum(prices) if prices else None
