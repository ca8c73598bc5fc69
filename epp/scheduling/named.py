"""The plugins of a file by name: built, found where others refer to them, and counted as used.

Must stay true: a mistake is noted once; what refers to a plugin that has a mistake of its own is no second one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from epp.config import PluginSpec, Ref
from epp.domain import ConfigError
from epp.options.requests import AgentIdentity
from epp.plugin import Plugin, Setting
from epp.scheduling import registry
from epp.scheduling.handlers import Decider
from epp.scheduling.refused import instead_of
from epp.yaml_reader import near

EXPERIMENTAL = "--allow-experimental-plugins"
T = TypeVar("T")


@dataclass(slots=True)
class Named:
    """`notes` say what has no effect or is out of date, `implied` what the file means without saying it."""

    experimental: bool
    mistakes: list[ConfigError]
    notes: list[str] = field(default_factory=list)
    implied: list[str] = field(default_factory=list)
    named: dict[str, Plugin] = field(default_factory=dict)
    specs: dict[str, PluginSpec] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def add(self, spec: PluginSpec) -> None:
        """One entry of the file's list."""
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

    def find(self, ref: Ref | None, kinds: tuple[type[T], ...], what: str, *, implied: bool = False) -> T | None:
        """The plugin of that name, if it is of the kind; where it may be implied, of that type with its defaults."""
        if ref is None or (ref.name in self.specs and ref.name not in self.named):
            return None  # it has a mistake of its own
        plugin = self.named.get(ref.name)
        if plugin is None and implied:
            plugin = self._imply(ref)
        if plugin is None:
            instead = instead_of(ref.name)
            missing = f"there is no plugin {ref.name!r}{self._meant(ref.name, implied=implied)}"
            self.wrong(ref.path, f"{ref.name} is not in this version: {instead}" if instead else missing)
        elif not isinstance(plugin, kinds):
            self.wrong(ref.path, f"{ref.name} ({plugin.type}) is not {what}")
        else:
            self.used.add(ref.name)
            return plugin
        return None

    def _meant(self, name: str, *, implied: bool) -> str:
        """What a reference to nothing may have meant: a plugin of that type by its own name, a type, or a near name."""
        own = [spec.name for spec in self.specs.values() if spec.type == name]
        if own:
            return f"; the one of that type is called {own[0]!r}"
        misspelt = near(name, [spec.name for spec in self.specs.values() if spec.name not in self.named])
        if name in registry.registered():
            own_type = f"; it is a type: add it to `plugins` as `- type: {name}`"
            return misspelt if misspelt.startswith(",") else own_type
        return near(name, [*self.specs, *registry.registered()] if implied else self.specs)

    def note_unused(self) -> None:
        """What nothing refers to does nothing, and somebody may have meant it to."""
        named = {getattr(plugin, f.name, None) for plugin in self.named.values() for f in _texts(plugin)}
        for name, plugin in self.named.items():
            if name in self.used or isinstance(plugin, AgentIdentity):
                continue
            if isinstance(plugin, Decider) or (isinstance(plugin, Setting) and plugin.differs):
                continue
            if name not in named:
                self.notes.append(f"{self.specs[name].path}: {name} is used nowhere, so it does nothing")

    def wrong(self, path: str, message: str) -> None:
        """A mistake more."""
        self.mistakes.append(ConfigError(path, message))

    def _imply(self, ref: Ref) -> Plugin | None:
        if ref.name not in registry.registered():
            return None
        plugin, mistakes = registry.examine(ref.name, None, ref.path)
        self.mistakes += mistakes
        if plugin is not None:
            self.implied.append(f"{ref.name}, which {ref.path} names")
            self.specs[ref.name] = PluginSpec(ref.name, ref.name, {}, ref.path)
            self.named[ref.name] = plugin
        return plugin


def _texts(plugin: Plugin) -> list[Any]:
    return [f for f in fields(plugin) if f.type in ("str", str)]  # type: ignore[arg-type]  # all are dataclasses
