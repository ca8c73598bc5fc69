"""What a JSON schema (draft-07, or a CRD's OpenAPI v3) has against a value; the keywords our schemas use, no others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

SILENT = {"$schema", "title", "description", "default", "format", "definitions"}
CHECKED = {
    "type", "properties", "additionalProperties", "required", "items", "enum", "pattern", "$ref",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties",
    "maxProperties",
}  # fmt: skip
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
SIZES = (
    (str, "minLength", "maxLength"),
    (list, "minItems", "maxItems"),
    (dict, "minProperties", "maxProperties"),
)


def mistakes(schema: Schema, value: Any, *, strict: bool = False) -> list[str]:
    """Every mistake, beginning with its path. `strict`: what the schema does not name is one (as kubectl sees it)."""
    return list(_Check(schema, strict).at(schema, value, ""))


def unchecked(schema: Schema) -> set[str]:
    """Keywords that `mistakes` would pass over; extensions of Kubernetes (x-...) aside."""
    own = {word for word in schema if not word.startswith("x-")} - SILENT - CHECKED
    return own.union(*(unchecked(child) for _, child in children(schema)))


def children(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The schemas inside, each with the key it is for."""
    for group in ("properties", "definitions"):
        yield from schema.get(group, {}).items()
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield word, schema[word]


class _Check:
    def __init__(self, root: Schema, strict: bool) -> None:
        self._definitions = root.get("definitions", {})
        self._strict = strict

    def at(self, schema: Schema, value: Any, path: str) -> Iterator[str]:
        if "$ref" in schema:
            schema = self._definitions[schema["$ref"].removeprefix("#/definitions/")]
        where = path or "(root)"
        if not _is_a(schema.get("type"), value):
            yield f"{where}: is not {schema['type']}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: is not one of {schema['enum']}"
        if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
            yield f"{where}: does not match {schema['pattern']}"
        yield from (f"{where}: breaks {word} {schema[word]}" for word in _bounds_broken(schema, value))
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from self.at(schema.get("items", {}), item, f"{path}[{index}]")
        if isinstance(value, dict):
            yield from self._inside(schema, value, path)

    def _inside(self, schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[str]:
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", not (self._strict and known))
        dot = f"{path}." if path else ""
        yield from (f"{dot}{key}: is required" for key in schema.get("required", ()) if key not in value)
        for key, item in value.items():
            if key in known:
                yield from self.at(known[key], item, dot + key)
            elif isinstance(others, dict):
                yield from self.at(others, item, dot + key)
            elif not others:
                yield f"{dot}{key}: unknown key"


def _is_a(names: str | list[str] | None, value: Any) -> bool:
    if names is None:
        return True
    wanted = [names] if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in wanted
    return any(isinstance(value, TYPES[name]) for name in wanted)


def _bounds_broken(schema: Schema, value: Any) -> Iterator[str]:
    for kind, least, most in SIZES:
        if isinstance(value, kind):
            yield from _outside(schema, len(value), least, most)
    if isinstance(value, int | float):
        yield from _outside(schema, value, "minimum", "maximum")
    if isinstance(value, list) and schema.get("uniqueItems") and any(value.count(item) > 1 for item in value):
        yield "uniqueItems"


def _outside(schema: Schema, size: float, least: str, most: str) -> Iterator[str]:
    if least in schema and size < schema[least]:
        yield least
    if most in schema and size > schema[most]:
        yield most
