"""An EndpointPickerConfig as it is written -> typed values, or every mistake in it, each with its path.

Only the shape is read here: which plugins there are and what refers to what. What the plugins mean, and what is
implied by what is left out, is in `scheduling/assembly.py`. Strict, as the Go picker is: an unknown key is a mistake.
Must stay true: whatever the bytes are, the result is values or `ConfigError`s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from epp.domain import ConfigError
from epp.flag_values import quantity, seconds
from epp.yaml_reader import Reader, near
from epp.yaml_tree import compose, is_null, quoted, shown, string

GROUPS = ("llm-d.ai/v1alpha1", "inference.networking.x-k8s.io/v1alpha1")  # the second is the older name
KIND = "EndpointPickerConfig"
FILE_BYTES_MAX = 1 << 20
GATES = {"flowControl": False, "haPopulateNonLeaderDatastore": True}
_KIND = re.compile(
    rb"""(?:^|[{,])[ \t]*["']?kind["']?[ \t]*:[ \t]*["']?EndpointPickerConfig["']?(?=[\s,}#]|\Z)""", re.MULTILINE
)
OLD_GATES = ("dataLayer", "prepareDataPlugins")  # of earlier pickers, whose work has no gate any more


@dataclass(slots=True, frozen=True)
class Ref:
    """A plugin, by the name that it has in the file."""

    name: str
    path: str


@dataclass(slots=True, frozen=True)
class PluginSpec:
    """One entry of `plugins`."""

    name: str
    type: str
    parameters: Mapping[str, Any]
    path: str


@dataclass(slots=True, frozen=True)
class ProfileEntry:
    """A plugin in a profile; `weight` None is not given."""

    plugin: Ref
    weight: float | None = None


@dataclass(slots=True, frozen=True)
class ProfileSpec:
    """One entry of `schedulingProfiles`."""

    name: str
    entries: tuple[ProfileEntry, ...]
    path: str


@dataclass(slots=True, frozen=True)
class SourceSpec:
    """One entry of `dataLayer.sources`."""

    source: Ref
    extractors: tuple[Ref, ...] = ()


@dataclass(slots=True, frozen=True)
class DataLayerSpec:
    """`dataLayer`; `sources` None is not given."""

    inject_defaults: bool = True
    sources: tuple[SourceSpec, ...] | None = None
    discovery: Ref | None = None


@dataclass(slots=True, frozen=True)
class BandSpec:
    """A priority band; None is not given."""

    priority: int | None = None
    bytes_max: int | None = None
    requests_max: int | None = None
    fairness: Ref | None = None
    ordering: Ref | None = None


@dataclass(slots=True, frozen=True)
class FlowSpec:
    """`flowControl`; None is not given. Times are seconds."""

    bytes_max: int | None = None
    requests_max: int | None = None
    request_ttl_s: float | None = None
    no_endpoint_request_ttl_s: float | None = None
    default_band: BandSpec | None = None
    default_negative_band: BandSpec | None = None
    bands: tuple[BandSpec, ...] = ()
    usage_limit: Ref | None = None
    detector: Ref | None = None
    evict: bool = False


@dataclass(slots=True, frozen=True)
class File:
    """The whole file; `parsers` None is not given. `notes` say what of it is out of date."""

    gates: Mapping[str, bool]
    plugins: tuple[PluginSpec, ...]
    profiles: tuple[ProfileSpec, ...]
    data: DataLayerSpec
    flow: FlowSpec
    parsers: tuple[Ref, ...] | None
    notes: tuple[str, ...] = ()


def is_picker_config(content: bytes) -> bool:
    """Whether bytes look like an EndpointPickerConfig: by its kind, spelt as YAML or as JSON."""
    return _KIND.search(content[:FILE_BYTES_MAX]) is not None


def read(content: bytes) -> tuple[File, list[ConfigError]]:
    """What the file says, less what is wrong in it, and everything that is wrong in it."""
    reader = _Reader()
    with reader.noting():
        return reader.file(content), reader.mistakes
    return File({}, (), (), DataLayerSpec(), FlowSpec(), None), reader.mistakes


@dataclass(slots=True)
class _Reader(Reader):
    """One pass over the file."""

    notes: list[str] = field(default_factory=list)

    def file(self, content: bytes) -> File:
        if len(content) > FILE_BYTES_MAX:
            raise ConfigError("file", f"is larger than {FILE_BYTES_MAX} bytes")
        root = compose(content)
        if root is None or is_null(root):
            raise ConfigError("file", f"is empty; an {KIND} begins with apiVersion and kind")
        top = self.mapping(
            root,
            "",
            (
                "apiVersion", "kind", "featureGates", "plugins", "schedulingProfiles", "dataLayer", "flowControl",
                "requestHandler", "saturationDetector", "parser",
            ),
            required=("apiVersion", "kind"),
        )  # fmt: skip
        self.version(top)
        plugins = [
            spec
            for node, path in self.items(top, "plugins", "plugins")
            if (spec := self.plugin(node, path)) is not None
        ]
        return File(
            gates=self.gates(top),
            plugins=(*filter(None, plugins), *self.old_detector(top)),
            profiles=tuple(
                profile
                for node, path in self.items(top, "schedulingProfiles", "schedulingProfiles")
                if (profile := self.profile(node, path)) is not None
            ),
            data=self.data(top),
            flow=self.flow(top),
            parsers=self.parsers(top),
            notes=tuple(self.notes),
        )

    def version(self, top: Mapping[str, yaml.Node]) -> None:
        version, kind = self.text(top, "apiVersion", "apiVersion"), self.text(top, "kind", "kind")
        if version and version not in GROUPS:
            self.mistakes.append(ConfigError("apiVersion", f"{quoted(version)} is none of {', '.join(GROUPS)}"))
        if kind and kind != KIND:
            self.mistakes.append(ConfigError("kind", f"{quoted(kind)} is not {KIND}"))
        if version == GROUPS[1]:
            self.notes.append(f"apiVersion: {GROUPS[1]} is the older name of {GROUPS[0]}")

    def gates(self, top: Mapping[str, yaml.Node]) -> dict[str, bool]:
        gates = dict(GATES)
        for node, path in self.items(top, "featureGates", "featureGates"):
            with self.noting():
                name, equals, value = string(node, path).partition("=")
                if equals and value not in ("true", "false"):
                    raise ConfigError(path, f"{quoted(value)} is neither true nor false")
                if name in OLD_GATES:
                    self.notes.append(f"{path}: {name} is no gate any more; what it opened is always open here")
                elif name not in GATES:
                    raise ConfigError(path, f"unknown feature gate {quoted(name)}{near(name, [*GATES])}")
                else:
                    gates[name] = value != "false"
                    if name != "flowControl" and value == "false":
                        self.notes.append(f"{path}: a replica that does not lead follows the endpoints all the same")
        return gates

    def plugin(self, node: yaml.Node, path: str) -> PluginSpec | None:
        known = self.mapping(node, path, ("name", "type", "parameters"), required=("type",))
        kind = self.text(known, "type", path + ".type")
        name = self.text(known, "name", path + ".name") or kind
        parameters: Mapping[str, Any] = {}
        if "parameters" in known:
            with self.noting():
                parameters = self.plain(known["parameters"], path + ".parameters")
                if not isinstance(parameters, dict):
                    parameters = {}
                    raise ConfigError(path + ".parameters", f"must be a mapping, not {shown(known['parameters'])}")
        return PluginSpec(name, kind, parameters, path) if kind else None

    def profile(self, node: yaml.Node, path: str) -> ProfileSpec | None:
        known = self.mapping(node, path, ("name", "plugins"), required=("name",))
        entries = []
        for item, where in self.items(known, "plugins", path + ".plugins"):
            entry = self.mapping(item, where, ("pluginRef", "weight"), required=("pluginRef",))
            ref = self.ref(entry, "pluginRef", where)
            weight = self.one(entry, "weight", where, _weight)
            if ref is not None:
                entries.append(ProfileEntry(ref, weight))
        name = self.text(known, "name", path + ".name")
        return ProfileSpec(name, tuple(entries), path) if name else None

    def data(self, top: Mapping[str, yaml.Node]) -> DataLayerSpec:
        path = "dataLayer"
        known = self.inner(
            top,
            path,
            (
                "injectDefaults", "sources", "discovery", "peerDiscovery", "crossReplicaSyncerPluginRef",
                "crossReplicaSyncInterval",
            ),
        )  # fmt: skip
        for name in ("peerDiscovery", "crossReplicaSyncerPluginRef", "crossReplicaSyncInterval"):
            if name in known:
                why = "no plugin for it exists: replicas do not share their state; run one with a standby"
                self.mistakes.append(ConfigError(f"{path}.{name}", why))
        sources = []
        for item, where in self.items(known, "sources", path + ".sources"):
            entry = self.mapping(item, where, ("pluginRef", "extractors"), required=("pluginRef",))
            source = self.ref(entry, "pluginRef", where)
            if source is not None:
                sources.append(SourceSpec(source, self.refs(entry, "extractors", where + ".extractors")))
        inject = self.one(known, "injectDefaults", path, _boolean)
        discovery = self.inner(known, "discovery", ("pluginRef",), path + ".")
        return DataLayerSpec(
            inject_defaults=inject is not False,
            sources=tuple(sources) if "sources" in known else None,
            discovery=self.ref(discovery, "pluginRef", path + ".discovery"),
        )

    def flow(self, top: Mapping[str, yaml.Node]) -> FlowSpec:
        path = "flowControl"
        known = self.inner(
            top,
            path,
            (
                "maxBytes", "maxRequests", "defaultRequestTTL", "noEndpointRequestTTL", "defaultPriorityBand",
                "defaultNegativePriorityBand", "priorityBands", "usageLimitPolicyPluginRef", "saturationDetector",
                "enableEviction",
            ),
        )  # fmt: skip
        detector = self.ref(
            self.inner(known, "saturationDetector", ("pluginRef",), path + "."),
            "pluginRef",
            path + ".saturationDetector",
        )
        old = self.old_detector_ref(top)
        if detector is not None and old is not None:
            self.mistakes.append(ConfigError("saturationDetector", f"cannot go with {path}.saturationDetector"))
        bands = tuple(
            self.band(node, where, required=("priority",))
            for node, where in self.items(known, "priorityBands", path + ".priorityBands")
        )
        seen: set[int] = set()
        for number, band in enumerate(bands):
            if band.priority is not None and band.priority in seen:
                self.mistakes.append(ConfigError(f"{path}.priorityBands[{number}].priority", "has a band already"))
            seen.add(band.priority or 0)
        return FlowSpec(
            bytes_max=self.one(known, "maxBytes", path, _quantity),
            requests_max=self.one(known, "maxRequests", path, _quantity),
            request_ttl_s=self.one(known, "defaultRequestTTL", path, _duration),
            no_endpoint_request_ttl_s=self.one(known, "noEndpointRequestTTL", path, _duration),
            default_band=self.default_band(known, "defaultPriorityBand", path),
            default_negative_band=self.default_band(known, "defaultNegativePriorityBand", path),
            bands=bands,
            usage_limit=self.ref(known, "usageLimitPolicyPluginRef", path),
            detector=detector or old,
            evict=self.one(known, "enableEviction", path, _boolean) is True,
        )

    def default_band(self, known: Mapping[str, yaml.Node], name: str, path: str) -> BandSpec | None:
        if name not in known:
            return None
        band = self.band(known[name], f"{path}.{name}")
        if band.priority is not None:
            self.notes.append(f"{path}.{name}.priority: is not looked at; the band is for all priorities without one")
        return band

    def band(self, node: yaml.Node, path: str, required: tuple[str, ...] = ()) -> BandSpec:
        names = ("priority", "maxBytes", "maxRequests", "fairnessPolicyRef", "orderingPolicyRef")
        known = self.mapping(node, path, names, required)
        return BandSpec(
            priority=self.one(known, "priority", path, _integer),
            bytes_max=self.one(known, "maxBytes", path, _quantity),
            requests_max=self.one(known, "maxRequests", path, _quantity),
            fairness=self.ref(known, "fairnessPolicyRef", path),
            ordering=self.ref(known, "orderingPolicyRef", path),
        )

    def parsers(self, top: Mapping[str, yaml.Node]) -> tuple[Ref, ...] | None:
        handler = self.inner(top, "requestHandler", ("parsers",))
        old = self.ref(self.inner(top, "parser", ("pluginRef",)), "pluginRef", "parser")
        if old is not None:
            self.notes.append("parser: is out of date; write requestHandler.parsers")
            if "parsers" in handler:
                self.mistakes.append(ConfigError("parser", "cannot go with requestHandler.parsers; leave it out"))
            return (old,)
        listed = self.refs(handler, "parsers", "requestHandler.parsers")
        return listed or None

    def old_detector(self, top: Mapping[str, yaml.Node]) -> Iterator[PluginSpec]:
        """The top-level detector, with its thresholds in place: a plugin of its own."""
        known = self.old_detector_fields(top)
        known = {name: node for name, node in known.items() if name != "pluginRef"}
        if known:
            path = "saturationDetector"
            with self.noting():
                parameters = {name: self.plain(node, f"{path}.{name}") for name, node in known.items()}
                yield PluginSpec(path, "utilization-detector", parameters, path)

    def old_detector_ref(self, top: Mapping[str, yaml.Node]) -> Ref | None:
        path = "saturationDetector"
        if path not in top:
            return None
        self.notes.append("saturationDetector: is out of date; write flowControl.saturationDetector.pluginRef")
        known = self.old_detector_fields(top, quiet=True)
        if "pluginRef" not in known:
            return Ref(path, path) if known else None
        return self.ref(known, "pluginRef", path)

    def old_detector_fields(self, top: Mapping[str, yaml.Node], *, quiet: bool = False) -> dict[str, yaml.Node]:
        names = ("pluginRef", "queueDepthThreshold", "kvCacheUtilThreshold", "metricsStalenessThreshold")
        return self.inner(top, "saturationDetector", None if quiet else names)

    def refs(self, known: Mapping[str, yaml.Node], name: str, path: str) -> tuple[Ref, ...]:
        """A list of `pluginRef`s."""
        found = []
        for item, where in self.items(known, name, path):
            entry = self.mapping(item, where, ("pluginRef",), required=("pluginRef",))
            ref = self.ref(entry, "pluginRef", where)
            if ref is not None:
                found.append(ref)
        return tuple(found)

    def ref(self, known: Mapping[str, yaml.Node], name: str, path: str) -> Ref | None:
        text = self.text(known, name, f"{path}.{name}")
        return Ref(text, f"{path}.{name}") if text else None


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise ValueError("must be a number")
    return float(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**31:
        raise ValueError("must be a whole number of 32 bits")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _quantity(value: Any) -> int:
    read_as = quantity(value)
    if isinstance(read_as, bool) or not isinstance(read_as, int) or read_as < 0:
        raise ValueError("must be a quantity such as 5000, 10M or 1Gi")
    return read_as


def _duration(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError("must be a duration such as 30s or 1m30s")
    return float(seconds(value))  # type: ignore[arg-type]  # a text becomes a number
