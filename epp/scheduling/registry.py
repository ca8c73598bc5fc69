"""From a plugin's type name and parameters, as configuration files spell them, to the plugin.

Every module in `plugins/` and in `epp/options/` is looked at, so adding a plugin is adding one file. Must stay true:
a type of the Go picker's is built, or refused by its name with what to use instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import Any, get_type_hints

import msgspec

from epp import options
from epp.domain import ConfigError
from epp.flag_values import seconds
from epp.plugin import Plugin
from epp.scheduling import plugins
from epp.scheduling.misfits import misfit
from epp.scheduling.refused import instead_of
from epp.yaml_reader import near


def build(type_name: str, parameters: Mapping[str, Any] | None = None, path: str = "plugin") -> Plugin:
    """The plugin of this type with these (camelCase) parameters; `path` is where it stands in the file."""
    plugin, mistakes = examine(type_name, parameters, path)
    if plugin is None:
        raise mistakes[0]
    return plugin


def examine(
    type_name: str, parameters: Mapping[str, Any] | None = None, path: str = "plugin"
) -> tuple[Plugin | None, list[ConfigError]]:
    """The same, with every mistake instead of the first."""
    known = registered()
    if type_name not in known:
        instead = instead_of(type_name)
        if instead is not None:
            return None, [ConfigError(f"{path}.type", f"{type_name} is not in this version: {instead}")]
        meant = near(type_name, known) or "; docs/plugins.md lists those there are"
        return None, [ConfigError(f"{path}.type", f"unknown plugin type {type_name!r}{meant}")]
    cls, inside = known[type_name], f"{path}.parameters"
    values, mistakes = _checked(cls, parameters or {}, inside)
    if mistakes:
        return None, mistakes
    try:
        return cls(**values), []
    except ValueError as wrong:
        return None, [ConfigError(*located(wrong, cls, inside))]


@cache
def registered() -> Mapping[str, type[Plugin]]:
    """Every plugin class by its type name."""
    found: dict[str, type[Plugin]] = {}
    for package in (plugins, options):
        for module in iter_modules(package.__path__):
            name = f"{package.__name__}.{module.name}"
            for value in vars(import_module(name)).values():
                if isinstance(value, type) and issubclass(value, Plugin) and value.__module__ == name:
                    _register(value, found)
    return dict(sorted(found.items()))


def parameter_names(cls: type[Plugin]) -> dict[str, Field[Any]]:
    """A plugin's parameters as configuration files spell them, with the fields they set."""
    return {spelt(f): f for f in fields(cls) if f.init}  # type: ignore[arg-type]  # every plugin is a dataclass


def spelt(of: Field[Any]) -> str:
    """A field's name as files spell it."""
    return str(of.metadata.get("name") or _camel(of.name))


def located(wrong: ValueError, cls: type[Plugin], path: str) -> tuple[str, str]:
    """Where a plugin's own complaint, which begins with a field's name (`deciders.prefill`), belongs."""
    place, _, rest = str(wrong).partition(" ")
    field_name, dot, inside = place.partition(".")
    name = next((spelt(f) for f in parameter_names(cls).values() if f.name == field_name), None)
    return (path, str(wrong)) if name is None else (f"{path}.{name}{dot}{inside}", rest)


def _register(cls: type[Plugin], found: dict[str, type[Plugin]]) -> None:
    if "type" not in vars(cls):
        return  # what several plugins have in common
    if cls.type in found and issubclass(found[cls.type], cls):
        return  # the parameters of a plugin that also acts
    assert not isabstract(cls), f"{cls.__qualname__} lacks a method"
    assert cls.type not in found, f"two plugins are called {cls.type}"
    found[cls.type] = cls


def _checked(cls: type[Plugin], parameters: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[ConfigError]]:
    known = parameter_names(cls)
    types = get_type_hints(cls)
    values, mistakes = {}, []
    for name, value in parameters.items():
        if name in cls.hints:
            mistakes.append(ConfigError(f"{path}.{name}", cls.hints[name]))
        elif name not in known:
            mistakes.append(ConfigError(f"{path}.{name}", f"{cls.type} has no such parameter{near(name, known)}"))
        else:
            try:
                values[known[name].name] = _value(known[name], types[known[name].name], value)
            except msgspec.ValidationError as wrong:
                inside, said = misfit(wrong, types[known[name].name])
                mistakes.append(ConfigError(f"{path}.{name}{inside}", said))
    for name, f in known.items():
        if name not in parameters and f.default is MISSING and f.default_factory is MISSING:
            mistakes.append(ConfigError(f"{path}.{name}", f"{cls.type} needs this parameter"))
    return values, mistakes


def _value(of: Field[Any], kind: Any, value: Any) -> Any:
    if not of.metadata.get("duration"):
        return msgspec.convert(value, kind)
    if not isinstance(value, str):
        raise msgspec.ValidationError("must be a duration such as 200ms or 1m30s")
    try:
        return seconds(value)
    except ValueError as wrong:
        raise msgspec.ValidationError(str(wrong)) from wrong


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
