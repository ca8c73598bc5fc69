"""Reads the `global` block: names for `auto`, thresholds, users' own models, what is on that we lack."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from semantic.config_names import SWITCH_OFF
from semantic.instead import instead
from semantic.own.declared import Examine, OwnModel
from semantic.reading import Section
from semantic.rules import Truth

INERT = ("global.services.api", "global.services.management_api", "global.services.observability.metrics")
"""vSR's own management API and metrics: no effect here, as ours are there anyway."""
_TUNING = (
    "model_ref",
    "use_cpu",
    "use_modernbert",
    "use_mmbert_32k",
    "variant",
    "category_mapping_path",
    "pii_mapping_path",
    "jailbreak_mapping_path",
    "feedback_mapping_path",
)
FACT_CHECK = "global.model_catalog.modules.hallucination_mitigation.fact_check.model_id"
FEEDBACK = "global.model_catalog.modules.feedback_detector.model_id"


@dataclass(slots=True)
class Module:
    """One of vSR's classifiers as configured: whether it is on, its threshold, the user's own model in its place."""

    enabled: bool | None = None
    threshold: float | None = None
    own: OwnModel | None = None
    labels: tuple[str, ...] = ()
    unknown: Truth = Truth.UNKNOWN
    path: str = ""


@dataclass(frozen=True, slots=True)
class GlobalSettings:
    """What the block says that we act on; `modules` by the words prompt_guard, domain, pii, fact_check, feedback."""

    auto_names: frozenset[str] = frozenset()
    modules: Mapping[str, Module] = field(default_factory=dict)
    fallback_category: str = "other"


def read_global(section: Section, examine: Examine) -> GlobalSettings:
    """The settings; everything else below is refused where it is on, passed over where it is off, and else noted."""
    names = _read_router(section.section("router"))
    modules, fallback = _read_catalogue(section.section("model_catalog"), examine)
    for key in ("services", "stores", "integrations"):
        block = section.section(key)
        for part in block.present():
            _pass_over(block.section(part))
    section.done()
    return GlobalSettings(names, modules, fallback)


def _read_router(router: Section) -> frozenset[str]:
    names = [router.text("auto_model_name"), *router.texts("auto_model_names")]
    if not router.flag("clear_route_cache", default=True):
        router.report.note(router.at("clear_route_cache"), "the gateway's wiring decides this, not the file")
    if router.text("strategy", "priority") != "priority":
        router.report.unsupported(router.at("strategy"), "set the strategy at routing.strategy")
    router.ignore("config_source", "include_config_models_in_list", "streamed_body")
    for part in ("skip_processing", "model_selection", "learning"):
        _pass_over(router.section(part))
    router.done()
    return frozenset(name for name in names if name)


def _read_catalogue(catalogue: Section, examine: Examine) -> tuple[dict[str, Module], str]:
    modules = catalogue.section("modules")
    classifier = modules.section("classifier")
    domain = classifier.section("domain")
    fallback = domain.text("fallback_category", "other")
    found = {"domain": _module(domain, "domain", examine)}
    if found["domain"].enabled is False:
        domain.report.unsupported(domain.at("enabled"), "the category classifier cannot be switched off")
    found["pii"] = _module(classifier.section("pii"), "pii", examine)
    found["prompt_guard"] = _module(modules.section("prompt_guard"), "prompt_guard", examine)
    mitigation = modules.section("hallucination_mitigation")
    found["fact_check"] = _module(mitigation.section("fact_check"), "fact_check", examine)
    found["feedback"] = _module(modules.section("feedback_detector"), "feedback", examine)
    for part in classifier.present():
        if part not in ("domain", "pii"):
            _pass_over(classifier.section(part))
    if mitigation.flag("enabled", default=False):
        why = f"looking for hallucinations is not supported yet{instead('hallucination')}"
        mitigation.report.unsupported(mitigation.path, why, SWITCH_OFF)
    for part in modules.present():
        if part not in ("classifier", "prompt_guard", "hallucination_mitigation", "feedback_detector"):
            _pass_over(modules.section(part))
    for part in catalogue.present():
        if part != "modules":
            catalogue.report.note(catalogue.at(part), "models of vSR's catalogue are not loaded")
    return found, fallback


def _module(section: Section, name: str, examine: Examine) -> Module:
    """A folder that is there and has a model in it is the user's own; any other name is vSR's, and ours stands in."""
    module = Module(path=section.path)
    if not list(section.present()):
        return module
    if "enabled" in section:
        module.enabled = section.flag("enabled", default=True)
    if "threshold" in section:
        module.threshold = fraction(section, "threshold", 0.5)
    module.labels = tuple(section.texts("positive_labels"))
    on_error = section.text("on_error", "allow")
    if on_error == "block":
        module.unknown = Truth.YES
    elif on_error != "allow":
        section.report.mistake(section.at("on_error"), f"{on_error!r} is neither 'allow' nor 'block'")
    folder = section.text("model_id")
    if folder:
        why = examine(folder)
        if why is None:
            module.own = OwnModel(name, folder, section.at("model_id"), cpu=section.flag("use_cpu", default=True))
        elif why.there:
            section.report.mistake(section.at("model_id"), why.message)
        elif name in ("domain", "prompt_guard", "pii"):
            section.report.note(section.at("model_id"), f"the shipped model is used, not {folder!r}")
    section.ignore(*_TUNING)
    section.done()
    return module


def fraction(section: Section, key: str, default: float) -> float:
    """A number from 0 to 1."""
    value = section.number(key, default)
    if not 0 <= value <= 1:
        section.report.mistake(section.at(key), "should lie between 0 and 1")
        return default
    return value


def _pass_over(block: Section) -> None:
    """Refuses every `enabled: true` in the block; notes a block that says neither on nor off."""
    if not list(block.present()):
        return
    if block.path.endswith(INERT):
        block.report.note(block.path, "has no effect here")
        return
    if "enabled" in block:
        if block.flag("enabled", default=False):
            name = block.path.rpartition(".")[2]
            block.report.unsupported(block.path, f"is switched on and not supported yet{instead(name)}", SWITCH_OFF)
        return
    inner = [block.section(key) for key in block.present() if isinstance(block.raw(key), dict)]
    if any("enabled" in part for part in inner):
        for part in inner:
            _pass_over(part)
    else:
        block.report.note(block.path, "has no effect here")
