"""Finding a member's values in a JSON text that arrives in pieces, however it is cut.

Only brackets and strings are looked at; regular expressions skip the rest natively. Must stay true: nothing of a piece
is kept back but the start of what may be a name we look for (a few bytes) and the start of a value for as long as
`wanted` says so; every other byte is let go at once, unchanged and in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

NESTED_MAX = 2  # levels within an object that is a value: token usage has lists of objects
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_PLAIN = rb'[^"{}\[\]]'
_SPACE = re.compile(rb"[ \t\r\n]*").match
_REST_OF_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL).match
_QUOTE, _COLON, _BRACE = b'":{'
_OPENING = b"{["

Match = Callable[[bytes, int], re.Match[bytes] | None]


@dataclass(slots=True, frozen=True)
class Span:
    """Where a value lies in the bytes that were let go, and how many brackets are open around it."""

    start: int
    stop: int
    depth: int


class Members:
    """Finds the values of `name` in the outermost object that are strings or objects, as `opener` says.

    It also looks into the objects that are the outermost object's values of the names in `inside`. `wanted` is asked
    whether an unfinished value may still become one worth keeping its start for. `adrift` is for a text whose start
    was skipped: it begins at a name, and any object that turns out to be around may be the outermost one.
    """

    def __init__(
        self,
        name: bytes,
        opener: bytes,
        wanted: Callable[[bytes], bool],
        inside: Sequence[bytes] = (),
        *,
        adrift: bool = False,
    ) -> None:
        self._names = tuple(b'"' + n + b'"' for n in (name, *inside))
        self._skips = (_skip(self._names), _skip(self._names[:1]), _skip(()))
        self._opener = opener[0]
        self._whole = _whole(opener)
        self._wanted = wanted
        self._adrift = adrift
        self._kept = b""
        self._spans: list[Span] = []
        self.begin()

    def begin(self) -> bytes:
        """A new text begins; what was still kept back of the one before."""
        kept, self._kept = self._kept, b""
        self._step = self._between
        self.depth = 1 if self._adrift else 0
        self._outermost = 1
        self._inside = False
        self._name = b""
        return kept

    def feed(self, piece: bytes) -> tuple[bytes, list[Span]]:
        """The bytes that are let go, and the values that lie in them."""
        buffer = self._kept + piece if self._kept else piece
        self._kept = b""
        self._spans = []
        at, size = 0, len(buffer)
        while at < size:
            at = self._step(buffer, at)
        return (buffer[: size - len(self._kept)] if self._kept else buffer), self._spans

    def _between(self, buffer: bytes, at: int) -> int:
        """To the next string that matters, keeping count of the brackets on the way."""
        size, depth, skips = len(buffer), self.depth, self._skips
        while True:
            above = depth - self._outermost
            level = above if above == 0 or (above == 1 and self._inside) else 2
            found = skips[level](buffer, at)
            assert found is not None, "it matches nothing at least"
            at = found.end()
            if at == size or buffer[at] == _QUOTE:
                self.depth = depth
                return at if at == size else self._string(buffer, at, self._names[: (None, 1, 0)[level]])
            depth = depth + 1 if buffer[at] in _OPENING else self._closed(depth - 1)
            at += 1

    def _closed(self, depth: int) -> int:
        if self._adrift:
            self._outermost = min(self._outermost, depth)
        if depth <= self._outermost:
            self._inside = False
        return depth if self._adrift else max(depth, 0)

    def _string(self, buffer: bytes, at: int, names: Sequence[bytes]) -> int:
        """A string that is one of the names, or may become one, or does not end in this buffer."""
        for name in names:
            if buffer.startswith(name, at):
                self._name = name
                self._step = self._named
                return at + len(name)
            if len(buffer) - at < len(name) and name.startswith(buffer[at:]):
                return self._keep(buffer, at)
        return self._in_string(buffer, at + 1)

    def _in_string(self, buffer: bytes, at: int) -> int:
        at = _end(_REST_OF_STRING, buffer, at)
        if at == len(buffer):
            self._step = self._in_string
            return at
        self._step = self._between if buffer[at] == _QUOTE else self._escaped
        return at + 1

    def _escaped(self, buffer: bytes, at: int) -> int:
        """In a string, after a backslash that was the last byte of its piece."""
        self._step = self._in_string
        return at + 1

    def _named(self, buffer: bytes, at: int) -> int:
        """After a string that is a name we look for if a colon follows."""
        at = _end(_SPACE, buffer, at)
        if at == len(buffer):
            return at
        if buffer[at] == _COLON:
            self._step = self._value
            return at + 1
        self._step = self._between
        return at

    def _value(self, buffer: bytes, at: int) -> int:
        """After that colon."""
        at = _end(_SPACE, buffer, at)
        if at == len(buffer):
            return at
        self._step = self._between
        if self._name is not self._names[0]:
            self._inside = buffer[at] == _BRACE
        elif buffer[at] == self._opener:
            if whole := self._whole(buffer, at):
                self._spans.append(Span(at, whole.end(), self.depth))
                return whole.end()
            if self._wanted(buffer[at:]):
                self._step = self._value
                return self._keep(buffer, at)
            if self._opener == _QUOTE:  # a value that has not ended yet, and no name
                return self._in_string(buffer, at + 1)
        return at

    def _keep(self, buffer: bytes, at: int) -> int:
        self._kept = buffer[at:]
        return len(buffer)


@cache
def _skip(names: tuple[bytes, ...]) -> Match:
    """As far as it goes without brackets, these names and strings that do not end."""
    but = rb"(?!" + b"|".join(names) + rb")" if names else b""
    return re.compile(rb"(?:" + _PLAIN + rb"+|" + but + _STRING + rb")*", re.DOTALL).match


@cache
def _whole(opener: bytes) -> Match:
    """A string, or an object with at most `NESTED_MAX` levels of objects and arrays in it."""
    if opener == b'"':
        return re.compile(_STRING, re.DOTALL).match
    inner = _STRING
    for _ in range(NESTED_MAX):
        inner = rb"(?:" + _STRING + rb"|[{\[]" + _PLAIN + rb"*(?:" + inner + _PLAIN + rb"*)*[}\]])"
    return re.compile(rb"\{" + _PLAIN + rb"*(?:" + inner + _PLAIN + rb"*)*\}", re.DOTALL).match


def _end(match: Match, buffer: bytes, at: int) -> int:
    """Where a match that may be empty ends."""
    found = match(buffer, at)
    assert found is not None
    return found.end()
