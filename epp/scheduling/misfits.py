"""What is wrong with a value of a file in words that say what to write, where msgspec says what its decoder met.

Must stay true: the path leads to the value that is to be changed; names and choices that are known are told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from epp.yaml_reader import near

_AT = re.compile(r" - at `\$(.*)`$", re.DOTALL)
_EXPECTED = re.compile(r"^Expected `(.+?)`, got `(.+?)`$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(.+)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.+)`$", re.DOTALL)
_CHOICE = re.compile(r"^Invalid enum value (.+)$", re.DOTALL)
_STEP = re.compile(r"\[(?:\d+|\.\.\.)\]|\.[^.\[]+")
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "a mapping",
    "null": "empty",
}


def misfit(wrong: msgspec.ValidationError, kind: Any) -> tuple[str, str]:
    """Where below the value it is (`[0].name`, empty: the value itself), and what is wrong there."""
    found = _AT.search(str(wrong))
    path, said = (found[1], _AT.sub("", str(wrong))) if found else ("", str(wrong))
    inner = _inside(kind, path)
    if expected := _EXPECTED.match(said):
        options = " or ".join(WORDS.get(name.strip(), name) for name in expected[1].split("|"))
        return path, f"must be {options}, not {WORDS.get(expected[2], expected[2])}"
    if unknown := _UNKNOWN.match(said):
        return f"{path}.{unknown[1]}", f"unknown key{near(unknown[1], _names(inner))}"
    if missing := _MISSING.match(said):
        return f"{path}.{missing[1]}", "is required"
    if choice := _CHOICE.match(said):
        return path, f"{choice[1]} is none of {', '.join(map(str, get_args(inner)))}"
    name, colon, rest = said.partition(": ")
    if colon and name in _names(inner):
        return f"{path}.{name}", rest
    return path, said


def _inside(kind: Any, path: str) -> Any:
    """The type of what the path leads to."""
    for step in _STEP.findall(path):
        kind = _plain(kind)
        if step.startswith("["):
            kind = get_args(kind)[-1] if step == "[...]" else next(iter(get_args(kind)), Any)
        else:
            kind = next((of for name, of in _fields(kind) if name == step[1:]), Any)
    return _plain(kind)


def _plain(kind: Any) -> Any:
    """Of something that may be left out, what it is where it is not."""
    if get_origin(kind) in (UnionType, Union):
        return next(one for one in get_args(kind) if one is not type(None))
    return kind


def _names(kind: Any) -> list[str]:
    return [name for name, _ in _fields(kind)]


def _fields(kind: Any) -> Iterator[tuple[str, Any]]:
    if get_origin(kind) is not Literal and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from ((of.encode_name, of.type) for of in msgspec.structs.fields(kind))
