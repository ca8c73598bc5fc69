"""From a file's parts to what runs: plugins, profiles, their handler, and the settings that other parts act on.

What the file leaves out is implied as the Go picker implies it: names are types, weights are 1, a file without
profiles has one of all its filters, scorers and pickers, a profile without a picker gets one, one profile needs no
handler, facts that a plugin goes by get a producer. Must stay true: a mistake is named by its path, and every one of a
file is; whatever is configured and has no effect is in the notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from epp.config import File, PluginSpec, ProfileSpec, read
from epp.domain import ConfigError
from epp.options.flow import FlowControlConfig
from epp.options.requests import AgentIdentity
from epp.options.sources import DataLayer
from epp.plugin import Plugin
from epp.scheduling import registry
from epp.scheduling.framework import Admitter, Filter, Memory, Picker, Producer, Profile, Scheduler, Scorer, Screener
from epp.scheduling.handlers import Handled, ProfileHandler
from epp.scheduling.named import Named
from epp.scheduling.sections import data_of, flow_of, parsers_of
from epp.yaml_reader import near

DEFAULT_PROFILE = "default"
DEFAULT_PICKER = "max-score-picker"
PRODUCERS = {  # fact -> who works it out where the file names nobody; who needs another stands before it
    "latency": "predicted-latency-producer",
    "prefix": "approx-prefix-cache-producer",
}


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
    assembly = _Assembler(experimental, mistakes, file=file).assemble()
    return (None if mistakes else assembly), mistakes


@dataclass(slots=True)
class _Assembler(Named):
    """One pass over a file's parts; a mistake is noted and the pass goes on."""

    file: File = field(kw_only=True)

    def assemble(self) -> Assembly | None:
        self.notes += self.file.notes
        for spec in self.file.plugins:
            self.add(spec)
        producers = self.producers()
        self.join()
        profiles = self.profiles()
        data, flow, parsers = data_of(self.file, self), flow_of(self.file, self), parsers_of(self.file, self)
        scheduler = self.scheduler(profiles, producers)
        self.note_unused()
        if scheduler is None:
            return None
        agent = next((p for p in self.named.values() if isinstance(p, AgentIdentity)), None)
        return Assembly(scheduler, flow, data, parsers, agent, self.named, tuple(self.notes), tuple(self.implied))

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
        for fact, kind in PRODUCERS.items():
            if fact in made or not any(fact in plugin.facts() for plugin in self.named.values()):
                continue
            self.implied.append(f"{kind}, which other plugins go by")
            implied = registry.build(kind)
            assert isinstance(implied, Producer)
            producers.append(implied)
            self.named[kind] = implied
            self.used.add(kind)
            self.specs[kind] = PluginSpec(kind, kind, {}, "plugins")
        producers.sort(key=lambda producer: len(producer.facts()))  # those that go by others' facts come after them
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
        screeners = [p for p in self.named.values() if isinstance(p, Screener)]
        placed = (Filter, Scorer, Picker, Producer, Screener, Admitter, ProfileHandler)
        memories = [p for p in self.named.values() if isinstance(p, Memory) and not isinstance(p, placed)]
        self.used |= {n for n, p in self.named.items() if p in (*screeners, *admitters, *memories)}
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
            return replace(profile, screeners=screeners, producers=producers, admitters=admitters, memories=memories)
        by_name = {profile.name: profile for profile in profiles}
        return Handled(handler.type, handler, by_name, producers, admitters, memories, screeners=screeners)

    def check_profile_names(self, profiles: Sequence[Profile]) -> None:
        known = [profile.name for profile in profiles]
        for name, plugin in self.named.items():
            wanted = getattr(plugin, "profile_name", "")
            if wanted and wanted not in known:
                path = f"{self.specs[name].path}.parameters.profileName"
                self.wrong(path, f"there is no profile {wanted!r}{near(wanted, known)}")
