"""Label selectors: their text, what they match, and the one way they are printed.

    app=vllm,tier!=canary,gpu,!draining,zone in (a,b),pool notin (x)

Must stay true: `parse(str(selector)) == selector`; a selector means the same here as at the API server, to which its
text is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

KEY_PREFIX_LENGTH_MAX = 253
LABEL_LENGTH_MAX = 63

_TOKEN = re.compile(r"\s*(==|!=|[=!,()]|[^\s=!,()<>]+|[<>]|\Z)")
_WORD = re.compile(r"[^\s=!,()<>]+")
_LABEL = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_DNS_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_KEY_PREFIX = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")


class Operator(Enum):
    """What a requirement asks of one label; a label that is missing is `notin` any set."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"


@dataclass(slots=True, frozen=True)
class Requirement:
    """One term of a selector; `values` are sorted and distinct, and empty for a term without values."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels fulfil the term."""
        if self.operator is Operator.IN:
            return labels.get(self.key) in self.values
        if self.operator is Operator.NOT_IN:
            return labels.get(self.key) not in self.values
        return (self.key in labels) is (self.operator is Operator.EXISTS)

    def __str__(self) -> str:
        if self.operator is Operator.EXISTS:
            return self.key
        if self.operator is Operator.ABSENT:
            return f"!{self.key}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator is Operator.IN else '!='}{self.values[0]}"
        return f"{self.key} {self.operator.value} ({','.join(self.values)})"


@dataclass(slots=True, frozen=True)
class Selector:
    """Requirements that must all be fulfilled, in the order in which they are printed; none match everything."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Selector:
        """Labels that must be there with these values; ValueError names the one that can be no label."""
        for key, value in labels.items():
            if not _is_key(key):
                raise ValueError(f"{key!r:.100} is not a label's key")
            if value and not _is_value(value):
                raise ValueError(f"{key}: {value!r:.100} is not a label's value")
        return _selector([Requirement(key, Operator.IN, (value,)) for key, value in labels.items()])

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def parse(text: str) -> Selector:
    """A selector of its text; ValueError names the first character that is wrong. Empty text selects everything."""
    return _Reader(text).selector()


def _selector(requirements: list[Requirement]) -> Selector:
    return Selector(tuple(sorted(set(requirements), key=lambda r: (r.key, r.operator.value, r.values))))


class _Reader:
    """The text from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.token = ""
        self.advance(0)

    def selector(self) -> Selector:
        if not self.token:
            return Selector()
        requirements = [self.requirement()]
        while self.token:
            self.expect(",", "`,` or the end")
            requirements.append(self.requirement())
        return _selector(requirements)

    def requirement(self) -> Requirement:
        if self.token == "!":
            self.next()
            return Requirement(self.key(), Operator.ABSENT)
        key = self.key()
        if self.token in ("=", "==", "!="):
            operator = Operator.NOT_IN if self.token == "!=" else Operator.IN
            self.next()
            return Requirement(key, operator, (self.value(),))
        if self.token in (Operator.IN.value, Operator.NOT_IN.value):
            operator = Operator(self.token)
            self.next()
            return Requirement(key, operator, self.values())
        if self.token not in ("", ","):
            raise self.wrong("one of `=`, `!=`, `in (...)`, `notin (...)`, `,` or the end")
        return Requirement(key, Operator.EXISTS)

    def values(self) -> tuple[str, ...]:
        self.expect("(", "`(`")
        found = {self.value()}
        while self.token != ")":
            self.expect(",", "`,` or `)`")
            found.add(self.value())
        self.next()
        return tuple(sorted(found))

    def key(self) -> str:
        return self.word("a label's key", _is_key)

    def value(self) -> str:
        """A value, which may be empty."""
        return self.word("a label's value", _is_value) if self.token not in ("", ",", ")") else ""

    def word(self, what: str, allowed: Callable[[str], bool]) -> str:
        word = self.token
        if not _WORD.fullmatch(word) or not allowed(word):
            raise self.wrong(what)
        self.next()
        return word

    def expect(self, token: str, what: str) -> None:
        if self.token != token:
            raise self.wrong(what)
        self.next()

    def next(self) -> None:
        self.advance(self.at + len(self.token))

    def advance(self, start: int) -> None:
        match = _TOKEN.match(self.text, start)
        assert match is not None, "every text starts with a token or ends"
        self.at, self.token = match.start(1), match[1]

    def wrong(self, expected: str) -> ValueError:
        found = f"`{self.token}`" if self.token else "the end"
        return ValueError(f"label selector '{self.text}', character {self.at + 1}: expected {expected}, found {found}")


def _is_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    if slash and (len(prefix) > KEY_PREFIX_LENGTH_MAX or not _KEY_PREFIX.fullmatch(prefix)):
        return False
    return bool(name) and _is_value(name)


def _is_value(text: str) -> bool:
    return len(text) <= LABEL_LENGTH_MAX and _LABEL.fullmatch(text) is not None
