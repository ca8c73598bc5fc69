"""YAML or JSON text -> the objects in it; lists of objects are taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from epp.doctor.tree import Object, objects, text
from epp.domain import ConfigError

OBJECTS_MAX = 20_000
NESTING_MAX = 100
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(content: bytes, where: str, *, only_objects: bool = True) -> list[Object]:
    """Every object of a file; what is none is a mistake, or passed over. ConfigError names the file and the mistake."""
    try:
        _check_nesting(content, where)
        found = [
            item
            for document in yaml.load_all(content, Loader=_LOADER)
            for item in _items(document, where, only_objects)
        ]
    except yaml.YAMLError as error:
        is_template = b"{{" in content
        hint = "; render a Helm template first: helm template ... | onehop doctor --file -" if is_template else ""
        raise ConfigError(where, f"not YAML or JSON: {_words(error)}{hint}") from error
    except ValueError as error:  # bytes that are no text, a date that is none
        raise ConfigError(where, f"not YAML or JSON: {error}") from error
    if len(found) > OBJECTS_MAX:
        raise ConfigError(where, f"has more than {OBJECTS_MAX} objects")
    return found


def _check_nesting(content: bytes, where: str) -> None:
    """Refuse deep nesting before the composer sees it: libyaml's recurses until the process dies."""
    depth = 0
    for event in yaml.parse(content, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > NESTING_MAX:
            raise ConfigError(where, f"is nested deeper than {NESTING_MAX} levels")


def _items(document: Any, where: str, only_objects: bool) -> Iterator[Object]:
    if document is None:
        return
    if not text(document, "kind") or not text(document, "apiVersion"):
        if only_objects:
            raise ConfigError(where, "not a Kubernetes object: it has no kind or no apiVersion")
    elif text(document, "kind").endswith("List") and isinstance(document.get("items"), list):
        yield from objects(document, "items")
    else:
        yield document


def _words(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem or error.context}"
    return str(error).splitlines()[0]
