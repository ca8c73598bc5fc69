"""Strict reading of YAML: every mistake with its path, unknown keys with the nearest name, no key twice."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


class ConfigError(Exception):
    """A mistake in a configuration: where, and what. `others` are the further mistakes of the same file."""

    def __init__(self, path: str, message: str, others: tuple["ConfigError", ...] = ()) -> None:
        """Keeps the parts, so that a caller can print each mistake on a line of its own."""
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message
        self.others = others


@dataclass(slots=True)
class Report:
    """Collects what is wrong and what has no effect while a file is read."""

    lenient: bool = False
    mistakes: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def mistake(self, path: str, message: str) -> None:
        """Something that is wrong in any mode."""
        self.mistakes.append(ConfigError(path, message))

    def unsupported(self, path: str, message: str, hint: str = "use --lenient") -> None:
        """Something right that we cannot do: a mistake with the way out, or in lenient mode a warning."""
        if self.lenient:
            self.warnings.append(f"{path}: {message}; it has no effect")
        else:
            self.mistake(path, f"{message} ({hint})")

    def note(self, path: str, message: str) -> None:
        """Something harmless that the operator should know."""
        self.warnings.append(f"{path}: {message}")

    def raise_mistakes(self) -> None:
        """Raises the first mistake, with the others attached, if there is any."""
        if self.mistakes:
            first, *rest = self.mistakes
            raise ConfigError(first.path, first.message, tuple(rest))


class Section:
    """One mapping of the file, read key by key; `done` reports the keys nobody asked for."""

    def __init__(self, value: object, path: str, report: Report) -> None:
        """Anything but a mapping is a mistake and reads as empty."""
        self.path = path
        self.report = report
        self._values: dict[str, Any] = {}
        self._seen: set[str] = set()
        if isinstance(value, dict):
            self._values = {str(key): item for key, item in value.items()}
        elif value is not None:
            report.mistake(path, f"should be a mapping, not {_kind(value)}")

    def __contains__(self, key: str) -> bool:
        """Whether the key is there with a value."""
        return self._values.get(key) is not None

    def at(self, key: str) -> str:
        """The path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def raw(self, key: str) -> Any:
        """The value as YAML gave it, or None."""
        self._seen.add(key)
        return self._values.get(key)

    def text(self, key: str, default: str = "") -> str:
        """A string."""
        return self._typed(key, str, default, "a text")

    def required(self, key: str) -> str:
        """A string that must be there and not be empty."""
        value = self.text(key)
        if not value and not any(mistake.path == self.at(key) for mistake in self.report.mistakes):
            self.report.mistake(self.at(key), "is missing")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        return self._typed(key, bool, default, "true or false")

    def whole(self, key: str, default: int = 0) -> int:
        """A whole number."""
        return self._typed(key, int, default, "a whole number")

    def number(self, key: str, default: float) -> float:
        """A number."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        self.report.mistake(self.at(key), f"should be a number, not {_kind(value)}")
        return default

    def texts(self, key: str) -> list[str]:
        """A list of strings."""
        out = []
        for path, value in self._items(key):
            if isinstance(value, str):
                out.append(value)
            else:
                self.report.mistake(path, f"should be a text, not {_kind(value)}")
        return out

    def section(self, key: str) -> "Section":
        """A mapping below this one; empty when it is not there."""
        return Section(self.raw(key), self.at(key), self.report)

    def sections(self, key: str) -> list["Section"]:
        """A list of mappings."""
        return [Section(value, path, self.report) for path, value in self._items(key)]

    def present(self) -> Iterator[str]:
        """Every key that is there."""
        return iter(self._values)

    def ignore(self, *keys: str) -> None:
        """Keys that are right here and mean nothing to us."""
        self._seen.update(keys)

    def done(self) -> None:
        """Reports each key nobody asked for, with the nearest that would have been right."""
        for key in self._values:
            if key not in self._seen:
                self.report.unsupported(
                    self.at(key), f"unknown key{nearest(key, self._seen)}", "--lenient passes over it"
                )

    def _typed(self, key: str, kind: type[T], default: T, words: str) -> T:
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        self.report.mistake(self.at(key), f"should be {words}, not {_kind(value)}")
        return default

    def _items(self, key: str) -> list[tuple[str, Any]]:
        value = self.raw(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.report.mistake(self.at(key), f"should be a list, not {_kind(value)}")
            return []
        return [(f"{self.at(key)}[{n}]", item) for n, item in enumerate(value)]


def nearest(name: str, known: Iterable[str]) -> str:
    """ ", did you mean 'x'?", or nothing when no known name is close."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def parse_yaml(text: str) -> object:
    """The document; a ConfigError with the line for bad syntax, a key given twice or more than one document."""
    try:
        return yaml.load(text, _StrictLoader)  # a SafeLoader with one more check
    except yaml.MarkedYAMLError as broken:
        line = f"line {broken.problem_mark.line + 1}" if broken.problem_mark else "the file"
        raise ConfigError(line, f"is not valid YAML: {broken.problem}") from broken
    except yaml.YAMLError as broken:
        raise ConfigError("the file", f"is not valid YAML: {broken}") from broken
    except RecursionError as broken:
        raise ConfigError("the file", "is nested too deeply") from broken
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as broken:
        # PyYAML's own, for a scalar that is not what its tag or its looks say (`!!int x`, 2024-13-45).
        raise ConfigError("the file", f"has a value that cannot be read: {broken}") from broken


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Checks the keys as written, before merges (`<<`) add theirs."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise ConfigError(f"line {key.start_mark.line + 1}", f"the key {key.value!r} is given twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else repr(value)
