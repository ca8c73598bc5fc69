"""Reads the plugins and the algorithm of a decision; those we lack are refused where they are on."""

from typing import get_args

from semantic.config_global import fraction
from semantic.config_names import PLUGIN_KINDS, SWITCH_OFF
from semantic.instead import instead
from semantic.plan import FACTORS, Algorithm, Factor, Limits, Plugins, RequestParams, SystemPrompt
from semantic.reading import Section, nearest

_OURS = frozenset(
    {"host", "content-length", "content-encoding", "transfer-encoding", "x-selected-model", "x-request-id"}
)
"""Headers that carry the request itself, or our own answer to the gateway."""
_OUR_PREFIXES = (":", "x-gateway-", "x-llm-d-", "x-onehop-")
HEADERS_MAX = 32
MESSAGE_CHARACTERS_MAX = 64_000


def read_plugins(decision: Section) -> Plugins:
    """What a decision's plugins do."""
    prompt: SystemPrompt | None = None
    message: str | None = None
    headers: tuple[tuple[str, str | None], ...] = ()
    params: RequestParams | None = None
    for plugin in decision.sections("plugins"):
        kind = plugin.required("type")
        settings = plugin.section("configuration")
        on = plugin.flag("enabled", default=True) and settings.flag("enabled", default=True)
        if kind and kind not in PLUGIN_KINDS:
            plugin.report.mistake(plugin.at("type"), f"there is no plugin type {kind!r}{nearest(kind, PLUGIN_KINDS)}")
        elif kind and on:
            match kind:
                case "system_prompt":
                    prompt = _system_prompt(settings)
                case "fast_response":
                    message = _text(settings, "message")
                case "header_mutation":
                    headers = _headers(settings)
                case "request_params":
                    params = _params(settings)
                case _:
                    why = f"plugin type {kind!r} is not supported yet{instead(kind)}"
                    plugin.report.unsupported(plugin.path, why, SWITCH_OFF)
        plugin.done()
    return Plugins(prompt, message, headers, params)


def _text(settings: Section, key: str) -> str:
    text = settings.required(key)
    if len(text) > MESSAGE_CHARACTERS_MAX:
        settings.report.mistake(settings.at(key), f"is longer than {MESSAGE_CHARACTERS_MAX} characters")
    settings.done()
    return text


def _system_prompt(settings: Section) -> SystemPrompt:
    mode = settings.text("mode", "insert")
    if mode not in ("replace", "insert"):
        settings.report.mistake(settings.at("mode"), f"{mode!r} is neither 'replace' nor 'insert'")
    return SystemPrompt(_text(settings, "system_prompt"), "replace" if mode == "replace" else "insert")


def _headers(settings: Section) -> tuple[tuple[str, str | None], ...]:
    out: dict[str, str | None] = {}
    for key in ("add", "update"):
        for entry in settings.sections(key):
            name = _header(entry.required("name"), entry.at("name"), entry)
            value = entry.text("value")
            if not value.isprintable():
                entry.report.mistake(entry.at("value"), "has characters that no header may have")
            out[name] = value
            entry.done()
    for n, given in enumerate(settings.texts("delete")):
        out[_header(given, f"{settings.at('delete')}[{n}]", settings)] = None
    settings.done()
    if len(out) > HEADERS_MAX:
        settings.report.mistake(settings.path, f"changes more than {HEADERS_MAX} headers")
    return tuple(out.items())


def _header(given: str, path: str, section: Section) -> str:
    name = given.lower()
    if name in _OURS or name.startswith(_OUR_PREFIXES):
        section.report.mistake(path, f"the header {given!r} is not for a plugin to change")
    elif name and not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        section.report.mistake(path, f"{given!r} is no header name")
    return name


def _params(settings: Section) -> RequestParams:
    tokens = settings.whole("max_tokens_limit") if "max_tokens_limit" in settings else None
    most = settings.whole("max_n") if "max_n" in settings else None
    for key, value in (("max_tokens_limit", tokens), ("max_n", most)):
        if value is not None and value < 1:
            settings.report.mistake(settings.at(key), "should be at least 1")
    blocked = frozenset(settings.texts("blocked_params"))
    for n, name in enumerate(settings.texts("blocked_params")):
        if name in ("model", "messages", "prompt", "input"):
            settings.report.mistake(f"{settings.at('blocked_params')}[{n}]", f"without {name!r} there is no request")
    params = RequestParams(blocked, tokens, most, settings.flag("strip_unknown", default=False))
    settings.done()
    return params


def read_algorithm(algorithm: Section) -> Algorithm:
    """`static` where nothing else is asked for, and in lenient mode where what is asked for is not supported."""
    kind = algorithm.text("type", "static")
    if kind == "multi_factor":
        algorithm.ignore("on_error")
        found = _multi_factor(algorithm.section("multi_factor"))
        algorithm.done()
        return found
    if kind != "static":
        why = f"the algorithm {kind!r} is not supported yet, only 'static' and 'multi_factor'{instead(kind)}"
        algorithm.report.unsupported(algorithm.at("type"), why)
        algorithm.ignore(*algorithm.present())
    algorithm.done()
    return Algorithm()


def _multi_factor(section: Section) -> Algorithm:
    given = section.section("weights")
    weights: dict[Factor, float] = {factor: fraction(given, factor, 0.25) for factor in FACTORS}
    given.done()
    if sum(weights.values()) <= 0:
        section.report.mistake(section.at("weights"), "one of them must be more than 0")
    slo = section.section("slo")
    limits = Limits(*(slo.number(key, 0.0) or None for key in ("max_ttft_ms", "max_cost_per_1m", "max_inflight")))
    if slo.number("max_tpot_ms", 0.0):
        slo.report.note(slo.at("max_tpot_ms"), "is not judged: time per output token is not foreseen for a model")
    slo.done()
    if "latency_percentile" in section:
        section.number("latency_percentile", 95.0)
        section.report.note(
            section.at("latency_percentile"), "the wait foreseen now is judged, not what was measured before"
        )
    known = get_args(Algorithm.__annotations__["on_no_candidates"])
    fallback = section.text("on_no_candidates", "cheapest")
    if fallback not in known:
        section.report.mistake(section.at("on_no_candidates"), f"{fallback!r} is none of {', '.join(known)}")
    section.done()
    return Algorithm("multi_factor", weights, limits, next((one for one in known if one == fallback), "cheapest"))
