"""Reads the `global` block: names for `auto`, the classifier's threshold, and what is switched on that we lack."""

from dataclasses import dataclass

from semantic.config_decisions import SWITCH_OFF
from semantic.reading import Section

INERT = frozenset({"global.services.api"})
"""Tuning of vSR's own management API: no effect here, whatever is on below it."""


@dataclass(frozen=True, slots=True)
class GlobalSettings:
    """What the block says that we act on."""

    auto_names: frozenset[str]
    threshold: float | None


def read_global(section: Section) -> GlobalSettings:
    """The settings; everything else below is refused where it is on, passed over where it is off, and else noted."""
    names = _read_router(section.section("router"))
    threshold = _read_threshold(section)
    for key in ("services", "stores", "integrations"):
        block = section.section(key)
        for part in block.present():
            _pass_over(block.section(part))
    section.done()
    return GlobalSettings(names, threshold)


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


def _read_threshold(section: Section) -> float | None:
    """`model_catalog.modules.classifier.domain.threshold`; other models of the catalogue are vSR's own."""
    catalogue = section.section("model_catalog")
    modules = catalogue.section("modules")
    classifier = modules.section("classifier")
    domain = classifier.section("domain")
    threshold = domain.number("threshold", -1.0) if "threshold" in domain else None
    if threshold is not None and not 0 <= threshold <= 1:
        domain.report.mistake(domain.at("threshold"), "should lie between 0 and 1")
    if not domain.flag("enabled", default=True):
        domain.report.unsupported(domain.at("enabled"), "the category classifier cannot be switched off")
    for key in ("model_ref", "model_id"):
        if name := domain.text(key):
            domain.report.note(domain.at(key), f"the shipped category model is used, not {name!r}")
    for part in classifier.present():
        if part != "domain":
            _pass_over(classifier.section(part))
    for part in modules.present():
        if part != "classifier":
            _pass_over(modules.section(part))
    for part in catalogue.present():
        if part != "modules":
            catalogue.report.note(catalogue.at(part), "models of vSR's catalogue are not loaded")
    return threshold


def _pass_over(block: Section) -> None:
    """Refuses every `enabled: true` in the block; notes a block that says neither on nor off."""
    if not list(block.present()):
        return
    if block.path.endswith(tuple(INERT)):
        block.report.note(block.path, "has no effect here")
        return
    if "enabled" in block:
        if block.flag("enabled", default=False):
            block.report.unsupported(block.path, "is switched on and not supported yet", SWITCH_OFF)
        return
    inner = [block.section(key) for key in block.present() if isinstance(block.raw(key), dict)]
    if any("enabled" in part for part in inner):
        for part in inner:
            _pass_over(part)
    else:
        block.report.note(block.path, "has no effect here")
