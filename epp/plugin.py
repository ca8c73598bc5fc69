"""What every plugin is, wherever it acts: a type name, parameters, and what users are told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal

Stage = Literal["stable", "alpha", "deprecated", "test", "ours"]


class Plugin:
    """Fields of a plugin are its parameters; `type` is its name in configuration files.

    `stage` is the Go picker's word for how settled it is (`ours` where it has none), `differs` what we do otherwise
    than it does. `needs` names facts that a producer must have worked out, `makes` those that it works out. `hints`
    are parameters that are refused, with what to do instead. A field's metadata may give its `name` in files where
    that is not its own in camel case, and `duration` for a Go duration, kept in seconds.
    """

    type: ClassVar[str]
    stage: ClassVar[Stage] = "stable"
    differs: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    makes: ClassVar[tuple[str, ...]] = ()
    hints: ClassVar[Mapping[str, str]] = {}

    def facts(self) -> tuple[str, ...]:
        """What it needs with these parameters."""
        return self.needs

    def join(self, named: Mapping[str, Plugin]) -> None:
        """Find the other plugins of the file that this one refers to. Raises ValueError that begins with the field."""

    def notes(self) -> list[str]:
        """What whoever starts us with these parameters should know."""
        return []


class Setting(Plugin):
    """A plugin that is parameters only: what follows from them is elsewhere."""


def duration(default: float, name: str = "") -> Any:
    """A field that files give as a Go duration (`200ms`), in seconds."""
    return _field(default, name, duration=True)


def named(name: str, default: Any) -> Any:
    """A field whose name in files is not its own in camel case."""
    return _field(default, name)


def _field(default: Any, name: str, **metadata: Any) -> Any:
    return field(default=default, metadata={**({"name": name} if name else {}), **metadata})
