"""From a file's parts to what runs: plugins, profiles, their handler, and the settings that other parts act on.

What the file leaves out is implied as the Go picker implies it: names are types, weights are 1, a file without
profiles has one of all its filters, scorers and pickers, a profile without a picker gets one, one profile needs no
handler, facts that a plugin goes by get a producer. Must stay true: a mistake is named by its path, and every one of a
file is; whatever is configured and has no effect is in the notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from epp.config import BandSpec, File, PluginSpec, ProfileSpec, Ref, read
from epp.domain import ConfigError
from epp.options.flow import (
    BAND_BYTES_MAX,
    BAND_REQUESTS_MAX,
    REQUEST_TTL_S,
    Band,
    Concurrency,
    Detector,
    FairnessPolicy,
    FcfsOrderingPolicy,
    FlowControlConfig,
    GlobalStrictFairnessPolicy,
    OrderingPolicy,
    StaticUsageLimitPolicy,
    UsageLimitPolicy,
    Utilization,
)
from epp.options.requests import AgentIdentity, Parser
from epp.options.sources import CoreMetricsExtractor, DataLayer, Extractor, FileDiscovery, Source
from epp.plugin import Plugin, Setting
from epp.scheduling import registry
from epp.scheduling.framework import Admitter, Filter, Memory, Picker, Producer, Profile, Scheduler, Scorer
from epp.scheduling.handlers import Decider, Handled, ProfileHandler
from epp.yaml_reader import near

DEFAULT_PROFILE = "default"
DEFAULT_PICKER = "max-score-picker"
PRODUCERS = {"prefix": "approx-prefix-cache-producer"}  # fact -> who works it out where the file names nobody
EXPERIMENTAL = "--allow-experimental-plugins"
T = TypeVar("T")


@dataclass(slots=True)
class Assembly:
    """What a file comes to. `notes` are what to know about it, `implied` what it did not say and means."""

    scheduler: Scheduler
    flow: FlowControlConfig
    data: DataLayer
    parsers: frozenset[str] | None
    agent: AgentIdentity | None
    plugins: Mapping[str, Plugin]
    notes: Sequence[str] = ()
    implied: Sequence[str] = ()


def load(content: bytes, *, experimental: bool = False) -> Assembly:
    """What the file comes to. Raises its first mistake, with how many more there are."""
    assembly, mistakes = examine(content, experimental=experimental)
    if assembly is None:
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise ConfigError(mistakes[0].path, mistakes[0].message + more)
    return assembly


def examine(content: bytes, *, experimental: bool = False) -> tuple[Assembly | None, list[ConfigError]]:
    """The same, or every mistake."""
    file, mistakes = read(content)
    assembler = _Assembler(file, experimental, mistakes)
    assembly = assembler.assemble()
    return (None if mistakes else assembly), mistakes


@dataclass(slots=True)
class _Assembler:
    """One pass over a file's parts; a mistake is noted and the pass goes on."""

    file: File
    experimental: bool
    mistakes: list[ConfigError]
    notes: list[str] = field(default_factory=list)
    implied: list[str] = field(default_factory=list)
    named: dict[str, Plugin] = field(default_factory=dict)
    specs: dict[str, PluginSpec] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def assemble(self) -> Assembly | None:
        self.notes += self.file.notes
        for spec in self.file.plugins:
            self.plugin(spec)
        self.join()
        profiles = self.profiles()
        producers = self.producers()
        data, flow, parsers = self.data(), self.flow(), self.parsers()
        scheduler = self.scheduler(profiles, producers)
        self.unused()
        if scheduler is None:
            return None
        agent = next((p for p in self.named.values() if isinstance(p, AgentIdentity)), None)
        return Assembly(scheduler, flow, data, parsers, agent, self.named, tuple(self.notes), tuple(self.implied))

    def plugin(self, spec: PluginSpec) -> None:
        if spec.name in self.specs:
            where = self.specs[spec.name].path
            self.wrong(f"{spec.path}.name", f"{where} is called {spec.name!r} already; give one of them another name")
            return
        self.specs[spec.name] = spec
        plugin, mistakes = registry.examine(spec.type, spec.parameters, spec.path)
        self.mistakes += mistakes
        if plugin is None:
            return
        if plugin.stage == "alpha" and not self.experimental:
            self.wrong(
                f"{spec.path}.type", f"{spec.type} is experimental (alpha): allow such plugins by {EXPERIMENTAL}"
            )
        if plugin.stage == "deprecated":
            self.notes.append(f"{spec.path}: {spec.type} is out of date in the Go picker")
        self.notes += [f"{spec.path}: {note}" for note in plugin.notes()]
        self.named[spec.name] = plugin

    def join(self) -> None:
        """Plugins that name others find them."""
        for name, plugin in self.named.items():
            try:
                plugin.join(self.named)
            except ValueError as wrong:
                self.mistakes.append(
                    ConfigError(*registry.located(wrong, type(plugin), f"{self.specs[name].path}.parameters"))
                )

    def profiles(self) -> list[Profile]:
        if not self.file.profiles:
            return [self.implied_profile()]
        found: dict[str, Profile] = {}
        for spec in self.file.profiles:
            profile = self.profile(spec)
            if spec.name in found:
                self.wrong(f"{spec.path}.name", f"there is a profile {spec.name!r} already")
            found[spec.name] = profile
        return list(found.values())

    def implied_profile(self) -> Profile:
        parts = {n: p for n, p in self.named.items() if isinstance(p, Filter | Scorer | Picker)}
        self.used |= parts.keys()
        self.implied.append(f"one profile, {DEFAULT_PROFILE!r}, of all filters, scorers and pickers")
        return self.sentence(DEFAULT_PROFILE, "plugins", [(name, plugin, None) for name, plugin in parts.items()])

    def profile(self, spec: ProfileSpec) -> Profile:
        parts: list[tuple[str, Plugin, float | None]] = []
        for number, entry in enumerate(spec.entries):
            path = f"{spec.path}.plugins[{number}]"
            plugin = self.find(entry.plugin, (Filter, Scorer, Picker), "a filter, a scorer or a picker")
            if plugin is None:
                continue
            if entry.weight is not None and not isinstance(plugin, Scorer):
                self.notes.append(f"{path}.weight: only scorers have a weight, and {entry.plugin.name} is none")
            parts.append((entry.plugin.name, plugin, entry.weight))
        return self.sentence(spec.name, spec.path, parts)

    def sentence(self, name: str, path: str, parts: Sequence[tuple[str, Plugin, float | None]]) -> Profile:
        pickers = [(n, p) for n, p, _ in parts if isinstance(p, Picker)]
        if len(pickers) > 1:
            self.wrong(path, f"a profile has one picker, and {name!r} has {', '.join(n for n, _ in pickers)}")
        scorers = [(p, 1.0 if weight is None else weight) for _, p, weight in parts if isinstance(p, Scorer)]
        return Profile(
            name=name,
            filters=[p for _, p, _ in parts if isinstance(p, Filter)],
            scorers=scorers,
            picker=pickers[0][1] if pickers else self.implied_picker(name),
        )

    def implied_picker(self, profile: str) -> Picker:
        declared = [(n, p) for n, p in self.named.items() if isinstance(p, Picker)]
        if len(declared) == 1:
            self.used.add(declared[0][0])
            self.implied.append(f"the picker of profile {profile!r} is {declared[0][0]}, the only one there is")
            return declared[0][1]
        self.implied.append(f"the picker of profile {profile!r} is {DEFAULT_PICKER}")
        picker = registry.build(DEFAULT_PICKER)
        assert isinstance(picker, Picker)
        return picker

    def producers(self) -> list[Producer]:
        """Those of the file, and those that its other plugins need."""
        declared = {n: p for n, p in self.named.items() if isinstance(p, Producer)}
        self.used |= declared.keys()
        made: dict[str, list[str]] = {}
        for name, producer in declared.items():
            for fact in producer.makes:
                made.setdefault(fact, []).append(name)
        for fact, names in made.items():
            if len(names) > 1:
                path = self.specs[names[1]].path
                self.wrong(path, f"{names[0]} works out the same ({fact}), of which there can be one; leave one out")
        producers = list(declared.values())
        needed = dict.fromkeys(fact for plugin in self.named.values() for fact in plugin.needs)
        for fact in needed.keys() - made.keys():
            self.implied.append(f"{PRODUCERS[fact]}, which other plugins go by")
            implied = registry.build(PRODUCERS[fact])
            assert isinstance(implied, Producer)
            producers.append(implied)
        self.check_producer_names(made.get("prefix", []))
        return producers

    def check_producer_names(self, there: Sequence[str]) -> None:
        known = there or [PRODUCERS["prefix"]]
        for name, plugin in self.named.items():
            wanted = getattr(plugin, "prefix_match_info_producer_name", "")
            if wanted and wanted not in known:
                path = f"{self.specs[name].path}.parameters.prefixMatchInfoProducerName"
                self.wrong(path, f"no plugin {wanted!r} works out prefixes{near(wanted, known)}")

    def scheduler(self, profiles: Sequence[Profile], producers: Sequence[Producer]) -> Scheduler | None:
        handlers = {n: p for n, p in self.named.items() if isinstance(p, ProfileHandler)}
        self.used |= handlers.keys()
        admitters = [p for p in self.named.values() if isinstance(p, Admitter)]
        placed = (Filter, Scorer, Picker, Producer, Admitter, ProfileHandler)
        memories = [p for p in self.named.values() if isinstance(p, Memory) and not isinstance(p, placed)]
        self.used |= {n for n, p in self.named.items() if p in admitters or p in memories}
        self.check_profile_names(profiles)
        if len(handlers) > 1:
            first, second = list(handlers)[:2]
            self.wrong(self.specs[second].path, f"there is one profile handler, and {first} is one already")
            return None
        handler = next(iter(handlers.values()), None)
        if handler is not None:
            name = next(iter(handlers))
            try:
                runs = handler.runs([p.name for p in profiles])
            except ValueError as wrong:
                path = f"{self.specs[name].path}.parameters"
                self.mistakes.append(ConfigError(*registry.located(wrong, type(handler), path)))
                return None
            self.notes += [f"profile {p.name!r} is run by nobody" for p in profiles if p.name not in runs]
        elif len(profiles) > 1:
            self.wrong("schedulingProfiles", "more than one profile needs a profile handler among the plugins")
            return None
        else:
            self.implied.append("single-profile-handler")
        if handler is None or handler.type == "single-profile-handler":
            (profile,) = profiles
            return replace(profile, producers=producers, admitters=admitters, memories=memories)
        by_name = {profile.name: profile for profile in profiles}
        return Handled(handler.type, handler, by_name, producers, admitters, memories)

    def check_profile_names(self, profiles: Sequence[Profile]) -> None:
        known = [profile.name for profile in profiles]
        for name, plugin in self.named.items():
            wanted = getattr(plugin, "profile_name", "")
            if wanted and wanted not in known:
                path = f"{self.specs[name].path}.parameters.profileName"
                self.wrong(path, f"there is no profile {wanted!r}{near(wanted, known)}")

    def data(self) -> DataLayer:
        spec = self.file.data
        discovery = None
        if spec.discovery is not None:
            discovery = self.find(spec.discovery, (FileDiscovery,), "file-discovery")
        if spec.sources is None:
            sources = [p for p in self.named.values() if isinstance(p, Source)]
            extractors = tuple(p for p in self.named.values() if isinstance(p, Extractor))
            self.used |= {n for n, p in self.named.items() if isinstance(p, Source | Extractor)}
            pairs: list[tuple[Source, tuple[Plugin, ...]]] = [(source, extractors) for source in sources]
            if extractors and not sources:
                pairs = []
                self.notes += [f"{self.specs[n].path}: no source feeds it" for n in self.names_of(CoreMetricsExtractor)]
        else:
            pairs = []
            for source_spec in spec.sources:
                source = self.find(source_spec.source, (Source,), "a data source")
                fed = [self.find(ref, (Extractor, Memory), "an extractor") for ref in source_spec.extractors]
                if source is not None:
                    pairs.append((source, tuple(plugin for plugin in fed if plugin is not None)))
        return DataLayer(tuple(pairs), spec.inject_defaults, discovery)

    def names_of(self, kind: type[Plugin]) -> list[str]:
        return [name for name, plugin in self.named.items() if isinstance(plugin, kind)]

    def parsers(self) -> frozenset[str] | None:
        if self.file.parsers is None:
            return None
        found = [self.find(ref, (Parser,), "a parser", implied=True) for ref in self.file.parsers]
        return frozenset(parser.type for parser in found if parser is not None)

    def flow(self) -> FlowControlConfig:
        spec = self.file.flow
        ttl = REQUEST_TTL_S if spec.request_ttl_s is None else spec.request_ttl_s or None
        hold = ttl if spec.no_endpoint_request_ttl_s is None else spec.no_endpoint_request_ttl_s or None
        default = self.band(spec.default_band)
        negative = None if spec.default_negative_band is None else self.band(spec.default_negative_band)
        detector = self.find(spec.detector, (Detector,), "a saturation detector", implied=True)
        assert detector is None or isinstance(detector, Utilization | Concurrency)
        limit = self.find(spec.usage_limit, (UsageLimitPolicy,), "a usage limit policy", implied=True)
        return FlowControlConfig(
            enabled=self.file.gates.get("flowControl", False),
            bytes_max=spec.bytes_max or None,
            requests_max=spec.requests_max or None,
            request_ttl_s=ttl,
            no_endpoint_request_ttl_s=hold,
            default_band=default,
            default_negative_band=negative,
            bands=tuple(self.band(band) for band in spec.bands),
            usage_limit=limit or StaticUsageLimitPolicy(),
            detector=detector or Utilization(),
            evict=spec.evict,
        )

    def band(self, spec: BandSpec | None) -> Band:
        if spec is None:
            return Band()
        fairness = self.find(spec.fairness, (FairnessPolicy,), "a fairness policy", implied=True)
        ordering = self.find(spec.ordering, (OrderingPolicy,), "an ordering policy", implied=True)
        return Band(
            priority=spec.priority or 0,
            bytes_max=BAND_BYTES_MAX if spec.bytes_max is None else spec.bytes_max,
            requests_max=BAND_REQUESTS_MAX if spec.requests_max is None else spec.requests_max,
            fairness=fairness or GlobalStrictFairnessPolicy(),
            ordering=ordering or FcfsOrderingPolicy(),
        )

    def find(self, ref: Ref | None, kinds: tuple[type[T], ...], what: str, *, implied: bool = False) -> T | None:
        """The plugin of that name, if it is of the kind; where it may be implied, of that type with its defaults."""
        if ref is None:
            return None
        plugin = self.named.get(ref.name)
        if plugin is None and ref.name in self.specs:
            return None  # it has a mistake of its own
        if plugin is None and implied and ref.name in registry.registered():
            plugin, mistakes = registry.examine(ref.name, None, ref.path)
            self.mistakes += mistakes
            if plugin is None:
                return None
            self.implied.append(f"{ref.name}, which {ref.path} names")
            self.specs[ref.name] = PluginSpec(ref.name, ref.name, {}, ref.path)
            self.named[ref.name] = plugin
        if plugin is None:
            self.wrong(ref.path, f"there is no plugin {ref.name!r}{near(ref.name, self.specs)}")
            return None
        self.used.add(ref.name)
        if not isinstance(plugin, kinds):
            self.wrong(ref.path, f"{ref.name} ({plugin.type}) is not {what}")
            return None
        return plugin

    def unused(self) -> None:
        named = {getattr(plugin, f.name, None) for plugin in self.named.values() for f in _texts(plugin)}
        for name, plugin in self.named.items():
            if name in self.used or isinstance(plugin, AgentIdentity):
                continue
            if isinstance(plugin, Decider) or (isinstance(plugin, Setting) and plugin.differs):
                continue
            if name not in named:
                self.notes.append(f"{self.specs[name].path}: {name} is used nowhere, so it does nothing")

    def wrong(self, path: str, message: str) -> None:
        self.mistakes.append(ConfigError(path, message))


def _texts(plugin: Plugin) -> list[Any]:
    return [f for f in fields(plugin) if f.type in ("str", str)]  # type: ignore[arg-type]  # all are dataclasses
