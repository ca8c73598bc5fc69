"""The model's name in a response as the client asked for it, where a rewrite hid it from the client.

Only the value of the top-level member `model` is replaced, and in events that of `response.model` (Responses API) and
`message.model` (Anthropic), and only where it is the served name. Must stay true: no other byte changes, however the
body is cut, and no more is held back than the start of what may become such a member.
"""

from __future__ import annotations

import re

import msgspec

from epp.protocol.members import Members

_EVENT_PARTS = (b"response", b"message")
_MODEL = b'"model"'
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_PLAIN = rb'[^"{}\[\]]*'
_FIRST = re.compile(  # an event whose model comes before any bracket, as engines write it: one match instead of a scan
    rb"data: ?\{" + _PLAIN + rb'(?:(?!"model")' + _STRING + _PLAIN + rb')*"model"[ \t]*:[ \t]*(' + _STRING + rb")"
)
_BYTES_PER_CHARACTER_MAX = 12  # a surrogate pair in escapes


class ModelRestorer:
    """Feed it a body piece by piece (JSON or server-sent events, uncompressed); it gives back what goes on.

    A body that changes length needs its `content-length` removed.
    """

    def __init__(self, served: str, asked: str) -> None:
        self._served = served
        self._served_json = msgspec.json.encode(served)
        self._asked_json = msgspec.json.encode(asked)
        self._idle = not served or not asked or served == asked
        self._members: Members | None = None
        self._events = False
        self._line_begins = True
        self._is_data = False

    def feed(self, piece: bytes, end: bool = False) -> bytes:
        """The bytes that may go on now; all that is left at the end."""
        if self._idle:
            return piece
        members = self._members or self._begin(piece)
        if members is None:
            if piece:  # white space: what follows begins a line only if this ended one
                self._line_begins = piece.endswith(b"\n")
            return piece
        out = self._fix_events(piece, members) if self._events else self._fix(piece, members)
        return out + members.begin() if end else out

    def _begin(self, piece: bytes) -> Members | None:
        """JSON begins with a bracket, events do not; None while there was only white space."""
        start = piece.lstrip()[:1]
        if start:
            self._events = start not in (b"{", b"[")
            self._members = Members(_MODEL[1:-1], b'"', self._may_be_served, _EVENT_PARTS if self._events else ())
        return self._members

    def _fix_events(self, piece: bytes, members: Members) -> bytes:
        if self._line_begins and piece.endswith(b"\n") and _MODEL not in piece:
            return piece
        return b"".join(self._fix_line(line, members) for line in piece.splitlines(keepends=True))

    def _fix_line(self, line: bytes, members: Members) -> bytes:
        """A line or a piece of one; of the fields of an event only `data` begins with a d."""
        begins, ends = self._line_begins, line.endswith(b"\n")
        self._line_begins = ends
        if begins:
            self._is_data = line.startswith(b"d")
        if not self._is_data:
            return line
        if begins and ends and (first := _FIRST.match(line)) and line.find(_MODEL, first.end()) < 0:
            start, stop = first.span(1)
            return line[:start] + self._asked_json + line[stop:] if self._is_served(first[1]) else line
        out = self._fix(line, members)
        return out + members.begin() if ends else out

    def _fix(self, piece: bytes, members: Members) -> bytes:
        buffer, spans = members.feed(piece)
        parts: list[bytes] = []
        done = 0
        for span in spans:
            if self._is_served(buffer[span.start : span.stop]):
                parts += (buffer[done : span.start], self._asked_json)
                done = span.stop
        return b"".join((*parts, buffer[done:])) if parts else buffer

    def _is_served(self, value: bytes) -> bool:
        if value == self._served_json:
            return True
        try:
            return b"\\" in value and msgspec.json.decode(value) == self._served
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False

    def _may_be_served(self, start: bytes) -> bool:
        if self._served_json.startswith(start):
            return True
        return b"\\" in start and len(start) < _BYTES_PER_CHARACTER_MAX * len(self._served) + 2
