"""How many tokens a response says it took, read from its body as it passes, in constant work for each piece.

A piece without `"usage"` costs one search for it. From such a name on the text is followed to its end (of the body, or
of the event's line), because only brackets that close afterwards tell whether the name was a top-level one. Must stay
true: at most the start of one usage object is held, and `HELD_BYTES_MAX` of it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from epp.domain import Usage
from epp.protocol.members import Members, Span

HELD_BYTES_MAX = 2048  # of one usage object; those of today have a few hundred bytes
_USAGE = b'"usage"'
_OVERLAP = len(_USAGE)  # a name but its last byte, and the byte before it
_BACKSLASH = ord("\\")
_NULLS = (b":null", b": null")
_NULL_END = len(_USAGE) + max(map(len, _NULLS))

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None


class UsageReader:
    """Feed it a body piece by piece (JSON or server-sent events, uncompressed); `end` gives what it said, if it did.

    Reads chat and text completions, embeddings, Responses and Anthropic messages. The counts in a stream's events are
    running totals, so the greatest of each counts: Anthropic says the prompt first and the completion last.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._begun = False
        self._events = False
        self._following = False
        self._overlap = b""
        self._members = Members(_USAGE[1:-1], b"{", _fits, adrift=True)
        self._found: tuple[int, Usage] | None = None

    def feed(self, piece: bytes) -> None:
        """The next bytes of the body."""
        if not self._begun:
            self._begin(piece)
        if not self._following:
            piece = self._overlap + piece
            if _USAGE not in piece:
                self._overlap = piece[-_OVERLAP:]
                return
        self._follow(piece)

    def end(self) -> Usage | None:
        """Nothing follows."""
        if self._following:
            self._settle()
        return self.usage

    def _begin(self, piece: bytes) -> None:
        """JSON begins with a bracket, events do not; white space says nothing yet."""
        start = piece.lstrip()[:1]
        self._begun = start != b""
        self._events = start not in (b"{", b"[")

    def _follow(self, piece: bytes) -> None:
        while piece:
            if not self._following and not (piece := self._start(piece)):
                return
            stop = piece.find(b"\n") + 1 if self._events else 0
            self._note(*self._members.feed(piece[:stop] if stop else piece))
            if not stop:
                return
            self._settle()
            piece = piece[stop:]

    def _start(self, piece: bytes) -> bytes:
        """From the first name that may matter on; none that does not may come again with the overlap."""
        passed = 0
        while (at := piece.find(_USAGE, passed)) >= 0:
            means_something = _means_something(piece, at)
            if means_something:
                self._following = True
                self._overlap = b""
                return piece[at:]
            if means_something is None:
                self._overlap = piece[max(at - 1, 0) :]
                return b""
            passed = at + 1
        self._overlap = piece[passed:][-_OVERLAP:]
        return b""

    def _note(self, buffer: bytes, spans: list[Span]) -> None:
        for span in spans:
            if (usage := _counts(buffer[span.start : span.stop])) is not None:
                self._found = span.depth, usage

    def _settle(self) -> None:
        """The text ends: with what is open now, how deep was the last usage? In events, one object may be around it."""
        self._following = False
        if self._found is not None:
            depth, usage = self._found
            if depth - self._members.depth in ((1, 2) if self._events else (1,)):
                self.usage = usage if self.usage is None else _greatest(self.usage, usage)
        self._found = None
        self._members.begin()


class _Details(msgspec.Struct):
    cached_tokens: Count = None


class _Counts(msgspec.Struct):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None


_COUNTS = msgspec.json.Decoder(_Counts)


def _counts(value: bytes) -> Usage | None:
    """OpenAI's names, or those of the Responses and Anthropic APIs."""
    try:
        said = _COUNTS.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    details = said.prompt_tokens_details or said.input_tokens_details
    prompt = said.input_tokens if said.prompt_tokens is None else said.prompt_tokens
    completion = said.output_tokens if said.completion_tokens is None else said.completion_tokens
    if prompt is None and completion is None:
        return None
    cached = said.cache_read_input_tokens or (details.cached_tokens if details else None)
    return Usage(prompt or 0, completion or 0, cached or 0)


def _greatest(one: Usage, other: Usage) -> Usage:
    return Usage(max(one.prompt, other.prompt), max(one.completion, other.completion), max(one.cached, other.cached))


def _fits(start: bytes) -> bool:
    return len(start) < HELD_BYTES_MAX


def _means_something(piece: bytes, at: int) -> bool | None:
    """False within a string, where alone a quote is escaped, and for null, as in every event but the last of some
    servers; None where the piece ends before it is seen to be null or not.
    """
    if at > 0 and piece[at - 1] == _BACKSLASH:
        return False
    value = piece[at + len(_USAGE) : at + _NULL_END]
    if value.startswith(_NULLS):
        return False
    return None if any(null.startswith(value) for null in _NULLS) else True
