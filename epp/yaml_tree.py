"""YAML or JSON bytes -> a node tree, and how a message shows a node.

The tree knows strings from numbers, keeps each key as often as it was written, and runs no constructor. Must stay
true: whatever the bytes are, the result is a tree or `ConfigError`.
"""

from __future__ import annotations

import yaml

from epp.domain import ConfigError

NESTING_MAX = 16

_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_INTEGER = "tag:yaml.org,2002:int"
_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def compose(text: bytes) -> yaml.Node | None:
    """The root of the only document, None when there is none."""
    try:
        _check_nesting(text)
        return yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "file" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
        raise ConfigError(where, f"not YAML or JSON: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError("file", f"not YAML or JSON: {str(error).splitlines()[0]}") from error


def is_null(node: yaml.Node) -> bool:
    """Whether nothing, `~` or `null` is written here."""
    return node.tag == _NULL


def string(node: yaml.Node, path: str) -> str:
    """The text of a string; a number or a boolean is none until it stands in quotes."""
    if isinstance(node, yaml.ScalarNode) and node.tag == _STRING:
        return str(node.value)
    hint = "; put it in quotes" if isinstance(node, yaml.ScalarNode) and not is_null(node) else ""
    raise ConfigError(path, f"must be a string, not {shown(node)}{hint}")


def digits(node: yaml.Node) -> str:
    """The text of a string or a whole number as it was written, empty for anything else."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) and node.tag in (_STRING, _INTEGER) else ""


def shown(node: yaml.Node) -> str:
    """A value as a message shows it: never a whole tree, which aliases could make endless."""
    if isinstance(node, yaml.ScalarNode):
        return "nothing" if is_null(node) else quoted(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def quoted(text: str) -> str:
    """Text of a file as a message shows it: on one line, not too long."""
    start = text if len(text) <= 60 else text[:60] + "..."
    return '"' + start.encode("unicode_escape").decode() + '"'


def _check_nesting(text: bytes) -> None:
    """Refuse deep nesting before the composer sees it: libyaml's recurses until the process dies."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > NESTING_MAX:
                mark = event.start_mark
                where = "file" if mark is None else f"line {mark.line + 1}"
                raise ConfigError(where, f"is nested deeper than {NESTING_MAX} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
