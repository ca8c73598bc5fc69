"""Changes of a JSON body by byte splices: what an edit does not name keeps every byte the client wrote.

Must stay true: a body that is valid JSON stays so; an edit whose place is not there changes nothing, but for `set`,
which makes the place. Of a member that is there twice the last counts, as for every engine; `remove` takes out all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from epp.domain import Edit

Range = tuple[int, int]
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_SPACE = b" \t\r\n"
_QUOTE, _COMMA, _BACKSLASH = b'",\\'


def edited(body: bytes, edits: Sequence[Edit]) -> bytes:
    """The body after all edits, one after the other. A body that cannot be read stays as it is."""
    try:
        for edit in edits:
            body = _apply(body, edit)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    return body


def _apply(body: bytes, edit: Edit) -> bytes:
    *outer, last = edit.path
    place: Range = (0, len(body))
    for n, step in enumerate(outer):
        inner = _child(body, place, step)
        if inner is None:
            value = edit.value
            for name in reversed(edit.path[n + 1 :]):
                value = b"{" + msgspec.json.encode(str(name)) + b":" + value + b"}"
            return _add(body, place, step, value) if edit.mode == "set" else body
        place = inner
    found = _child(body, place, last)
    match edit.mode:
        case "set":
            return _add(body, place, last, edit.value) if found is None else _put(body, found, edit.value)
        case "insert":
            return _insert(body, place, found, edit.value)
        case "prefix":
            quoted = found is not None and body[found[0]] == _QUOTE
            return _put(body, (found[0] + 1, found[0] + 1), edit.value) if found and quoted else body
        case "remove":
            return body if found is None else _removed(body, place, found, last)


def _removed(body: bytes, place: Range, found: Range, last: str | int) -> bytes:
    """Without the member or element. A member that is there again is one too many: its object is written anew."""
    if isinstance(last, int):
        return _take_out(body, found, member=False)
    once = _take_out(body, found, member=True)
    place = (place[0], place[1] - (len(body) - len(once)))
    if _child(once, place, last) is None:
        return once
    members = _OBJECT.decode(once[place[0] : place[1]])
    return _put(once, place, msgspec.json.encode({name: raw for name, raw in members.items() if name != last}))


def _child(body: bytes, place: Range, step: str | int) -> Range | None:
    """Where the value of a member or an element lies; None where there is none, or nothing that could have one."""
    piece = body[place[0] : place[1]]
    opening = piece.lstrip(_SPACE)[:1]
    raw: msgspec.Raw | None = None
    if isinstance(step, str) and opening == b"{":
        raw = _OBJECT.decode(piece).get(step)
    elif isinstance(step, int) and opening == b"[":
        listed = _ARRAY.decode(piece)
        raw = listed[step] if 0 <= step < len(listed) else None
    if raw is None:
        return None
    start = place[0] + _address(raw) - _address(piece)
    return start, start + len(memoryview(raw))


def _address(data: Any) -> int:
    address: int = np.frombuffer(data, dtype=np.uint8).__array_interface__["data"][0]
    return address


def _put(body: bytes, place: Range, value: bytes) -> bytes:
    return b"".join((body[: place[0]], value, body[place[1] :]))


def _add(body: bytes, place: Range, name: str | int, value: bytes) -> bytes:
    """A new member, first in its object."""
    start = body.find(b"{", *place)
    if start < 0 or not isinstance(name, str) or body[place[0] : start].strip(_SPACE):
        return body
    more = b"" if body[start + 1 : place[1]].lstrip(_SPACE)[:1] == b"}" else b","
    return _put(body, (start + 1, start + 1), msgspec.json.encode(name) + b":" + value + more)


def _insert(body: bytes, array: Range, before: Range | None, value: bytes) -> bytes:
    """A new element, before one that is there or at the end."""
    if before is not None:
        return _put(body, (before[0], before[0]), value + b",")
    piece = body[array[0] : array[1]].strip(_SPACE)
    if not piece.startswith(b"["):
        return body
    end = body.rindex(b"]", *array)
    return _put(body, (end, end), value if not piece[1:-1].strip(_SPACE) else b"," + value)


def _take_out(body: bytes, value: Range, *, member: bool) -> bytes:
    """A member with its name, or an element, and the comma that parted it from a neighbour."""
    start, stop = value
    if member:
        start = _name_before(body, start)
    after = stop + len(body[stop:]) - len(body[stop:].lstrip(_SPACE))
    if body[after : after + 1] == b",":
        return _put(body, (start, after + 1), b"")
    before = len(body[:start].rstrip(_SPACE))
    if body[before - 1] == _COMMA:
        start = before - 1
    return _put(body, (start, stop), b"")


def _name_before(body: bytes, value: int) -> int:
    """Where the name of the member begins whose value is here."""
    end = len(body[:value].rstrip(_SPACE)) - 1  # the colon
    end = len(body[:end].rstrip(_SPACE)) - 1  # the closing quote
    at = body.rindex(b'"', 0, end)
    while _escaped(body, at):
        at = body.rindex(b'"', 0, at)
    return at


def _escaped(body: bytes, at: int) -> bool:
    """Whether an odd number of backslashes stands before it."""
    count = 0
    while body[at - 1 - count] == _BACKSLASH:
        count += 1
    return count % 2 == 1
