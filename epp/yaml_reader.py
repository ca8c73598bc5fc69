"""Takes a node tree apart by key, noting every mistake with its path instead of stopping at the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

import yaml

from epp.domain import ConfigError
from epp.yaml_tree import is_null, shown, string

LISTED_MAX = 20  # names in one message
VALUES_MAX = 20_000  # of all free-form parts: aliases could make a small file endless
T = TypeVar("T")


@dataclass(slots=True)
class Reader:
    """One pass over a file; a mistake is noted and the pass goes on behind it."""

    mistakes: list[ConfigError] = field(default_factory=list)
    values: int = 0

    @contextmanager
    def noting(self) -> Iterator[None]:
        """What is raised inside is a mistake more."""
        try:
            yield
        except ConfigError as mistake:
            self.mistakes.append(mistake)

    def inner(
        self, known: Mapping[str, yaml.Node], name: str, names: tuple[str, ...] | None, before: str = ""
    ) -> dict[str, yaml.Node]:
        """The mapping under a key, empty where it is not given; any keys where `names` is None."""
        if name not in known:
            return {}
        return self.mapping(known[name], before + name, names)

    def mapping(
        self, node: yaml.Node, path: str, names: tuple[str, ...] | None, required: tuple[str, ...] = ()
    ) -> dict[str, yaml.Node]:
        """What stands under the known keys; null is the same as leaving a key out, as in Go."""
        if not isinstance(node, yaml.MappingNode):
            self.mistakes.append(ConfigError(path or "file", f"must be a mapping, not {shown(node)}"))
            return {}
        dot = f"{path}." if path else ""
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            with self.noting():
                name = string(key, (path or "file") + " key")
                if names is not None and name not in names:
                    raise ConfigError(dot + _short(name), f"unknown key{near(name, names)}")
                if name in found:
                    raise ConfigError(dot + _short(name), "is given twice")
                found[name] = value
        for name in required:
            if name not in found or is_null(found[name]):
                self.mistakes.append(ConfigError(dot + name, "is required"))
        return {name: value for name, value in found.items() if not is_null(value)}

    def items(self, known: Mapping[str, yaml.Node], name: str, path: str) -> list[tuple[yaml.Node, str]]:
        """The items of a list under a key, each with its path."""
        node = known.get(name)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.mistakes.append(ConfigError(path, f"must be a list, not {shown(node)}"))
            return []
        return [(item, f"{path}[{number}]") for number, item in enumerate(node.value)]

    def text(self, known: Mapping[str, yaml.Node], name: str, path: str) -> str:
        """A string that is not empty; empty where there is none."""
        if name not in known:
            return ""
        with self.noting():
            text = string(known[name], path)
            if not text:
                raise ConfigError(path, "must not be empty")
            return text
        return ""

    def one(self, known: Mapping[str, yaml.Node], name: str, path: str, read_as: Callable[[Any], T]) -> T | None:
        """One scalar; None where it is not given, or is wrong."""
        if name not in known:
            return None
        with self.noting():
            value = self.plain(known[name], f"{path}.{name}")
            try:
                return read_as(value)
            except ValueError as wrong:
                raise ConfigError(f"{path}.{name}", str(wrong)) from wrong
        return None

    def plain(self, node: yaml.Node, path: str) -> Any:
        """A tree as JSON would have it."""
        self.values += 1
        if self.values > VALUES_MAX:
            raise ConfigError("file", f"has more than {VALUES_MAX} values")
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for key, value in node.value:
                name = string(key, path + " key")
                if name in found:
                    raise ConfigError(f"{path}.{_short(name)}", "is given twice")
                found[name] = self.plain(value, f"{path}.{_short(name)}")
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, f"{path}[{number}]") for number, item in enumerate(node.value)]
        return _scalar(node, path)


def near(name: str, known: Iterable[str]) -> str:
    """What else may have been meant: a name that is close, one that has this word in it, or all where they are few."""
    listed = list(known)
    close = get_close_matches(name, listed, 1) or [one for one in listed if name and name in one][:1]
    if close:
        return f", did you mean {close[0]!r}?"
    return f"; known: {', '.join(listed)}" if 0 < len(listed) <= LISTED_MAX else ""


def _scalar(node: yaml.Node, path: str) -> Any:
    kind = node.tag.rpartition(":")[2]
    if kind not in ("int", "float", "bool", "null"):
        return str(node.value)
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, yaml.YAMLError) as wrong:
        raise ConfigError(path, f"{shown(node)} cannot be read") from wrong


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:60] + "..."
