"""Signals that need no model: how long the request is, who has spoken how often, what its metadata says."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from semantic.asked import IMAGES, messages, needs, parts
from semantic.judges.known import Declared, Known
from semantic.rules import NO, Bounds, Key, Verdict, yes

Source = Literal["message", "tool_definition", "active_tool_loop", "image_content"]
AT_LEAST_ONE = Bounds(gte=1)


@dataclass(frozen=True, slots=True)
class Context(Declared):
    """The prompt's tokens, as estimated, lie within these."""

    min_tokens: float
    max_tokens: float

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return ("context", self.name)

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """Both ends belong to the window."""
        inside = self.min_tokens <= known.asked.prompt_tokens <= self.max_tokens
        yield self.key, yes() if inside else NO


@dataclass(frozen=True, slots=True)
class Conversation(Declared):
    """How many there are of something: messages of a role, tools, images; or whether a tool has just answered."""

    source: Source
    role: str = ""
    bounds: Bounds = AT_LEAST_ONE

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return ("conversation", self.name)

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """`non_user` is every role but the user's; an empty role is every one."""
        yield self.key, yes() if self.bounds.hold(self._count(known)) else NO

    def _count(self, known: Known) -> int:
        asked = known.asked
        if self.source == "tool_definition":
            tools = asked.body.get("tools")
            return len(tools) if isinstance(tools, list) else 0
        if self.source == "image_content":
            return sum(1 for part in parts(asked) if part.get("type") in IMAGES)
        if self.source == "active_tool_loop":
            return int(bool(asked.turns) and asked.turns[-1][0] == "tool" and "tools" in needs(asked))
        roles = [str(message.get("role", "user")) for message in messages(asked)]
        if self.role == "non_user":
            return sum(role != "user" for role in roles)
        return sum(role == self.role for role in roles) if self.role else len(roles)


@dataclass(frozen=True, slots=True)
class Metadata(Declared):
    """The request's `metadata` has this value under that key."""

    entry: str
    equals: str

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return ("metadata", self.name)

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """An absent entry is no match."""
        metadata = known.asked.body.get("metadata")
        value = metadata.get(self.entry) if isinstance(metadata, dict) else None
        yield self.key, yes() if value == self.equals else NO
