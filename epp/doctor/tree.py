"""Reading objects that may be anything: what is not there, or not of its kind, is nothing, and never an exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]


def at(tree: Any, *path: str) -> Any:
    """What is at the end of these keys, None where one is missing."""
    for key in path:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def text(tree: Any, *path: str) -> str:
    """A string, empty where there is none."""
    found = at(tree, *path)
    return found if isinstance(found, str) else ""


def number(tree: Any, *path: str) -> int | None:
    """A whole number."""
    found = at(tree, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def objects(tree: Any, *path: str) -> list[Object]:
    """The mappings of a list."""
    found = at(tree, *path)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def texts(tree: Any, *path: str) -> list[str]:
    """The strings of a list; numbers are taken for text, as YAML writes them without quotes."""
    found = at(tree, *path)
    if not isinstance(found, list):
        return []
    return [str(each) for each in found if isinstance(each, str | int | float) and not isinstance(each, bool)]


def pairs(tree: Any, *path: str) -> dict[str, str]:
    """A mapping of strings to strings, as labels are."""
    found = at(tree, *path)
    if not isinstance(found, Mapping):
        return {}
    return {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, str)}


def name_of(item: Object) -> str:
    """Its name."""
    return text(item, "metadata", "name")


def namespace_of(item: Object) -> str:
    """Its namespace, empty for what is the whole cluster's."""
    return text(item, "metadata", "namespace")


def title(item: Object) -> str:
    """`Kind namespace/name`, as messages call it."""
    return f"{text(item, 'kind')} {key_of(item)}"


def key_of(item: Object) -> str:
    """`namespace/name`, or the name alone."""
    return "/".join(filter(None, (namespace_of(item), name_of(item))))
