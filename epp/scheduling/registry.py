"""From a plugin's type name and parameters, as configuration files spell them, to the plugin.

Every module in `plugins/` is looked at, so adding a plugin is adding one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import Any, get_type_hints

import msgspec

from epp.domain import ConfigError
from epp.scheduling import plugins
from epp.scheduling.framework import Plugin


def build(type_name: str, parameters: Mapping[str, Any] | None = None, path: str = "plugin") -> Plugin:
    """The plugin of this type with these (camelCase) parameters; `path` is where it stands in the file."""
    known = registered()
    if type_name not in known:
        raise ConfigError(f"{path}.type", f"unknown plugin type {type_name!r}{_nearest(type_name, known)}")
    cls = known[type_name]
    return _construct(cls, _checked(cls, parameters or {}, f"{path}.parameters"), f"{path}.parameters")


@cache
def registered() -> Mapping[str, type[Plugin]]:
    """Every plugin class by its type name."""
    found: dict[str, type[Plugin]] = {}
    for module in iter_modules(plugins.__path__):
        name = f"{plugins.__name__}.{module.name}"
        for value in vars(import_module(name)).values():
            if isinstance(value, type) and issubclass(value, Plugin) and value.__module__ == name:
                assert not isabstract(value), f"{value.__qualname__} lacks a method"
                assert value.type not in found, f"two plugins are called {value.type}"
                found[value.type] = value
    return dict(sorted(found.items()))


def parameter_names(cls: type[Plugin]) -> dict[str, Field[Any]]:
    """A plugin's parameters as configuration files spell them, with the fields they set."""
    return {_camel(f.name): f for f in fields(cls) if f.init}  # type: ignore[arg-type]  # every plugin is a dataclass


def _checked(cls: type[Plugin], parameters: Mapping[str, Any], path: str) -> dict[str, Any]:
    known = parameter_names(cls)
    types = get_type_hints(cls)
    values = {}
    for name, value in parameters.items():
        if name not in known:
            raise ConfigError(f"{path}.{name}", f"{cls.type} has no such parameter{_nearest(name, known)}")
        try:
            values[known[name].name] = msgspec.convert(value, types[known[name].name])
        except msgspec.ValidationError as wrong:
            raise ConfigError(f"{path}.{name}", str(wrong)) from wrong
    for name, f in known.items():
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(f"{path}.{name}", f"{cls.type} needs this parameter")
    return values


def _construct(cls: type[Plugin], values: Mapping[str, Any], path: str) -> Plugin:
    try:
        return cls(**values)
    except ValueError as wrong:
        field_name, _, rest = str(wrong).partition(" ")
        if field_name not in values:
            raise ConfigError(path, str(wrong)) from wrong
        raise ConfigError(f"{path}.{_camel(field_name)}", rest) from wrong


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, 1)
    if close:
        return f", did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
