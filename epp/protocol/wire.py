"""Protobuf's wire format, as much of it as the messages need that are written or read for every chunk.

Objects of the protobuf library cost more than the bytes they stand for; and a body is copied once here, however deep it
lies. What is written is what the library would read the same from (a test compares).
"""

from __future__ import annotations

from collections.abc import Iterable

_SMALL = tuple(bytes((number,)) for number in range(128))


def varint(number: int) -> bytes:
    """A number that is not negative."""
    if number < 128:
        return _SMALL[number]
    out = bytearray()
    while number >= 128:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: bytes, content: bytes) -> bytes:
    """A field with a length: text, bytes or a message. `tag` is its number and wire type 2, as it is written."""
    return tag + varint(len(content)) + content


def nested(tags: Iterable[bytes], head: bytes, body: bytes, tail: bytes = b"") -> bytes:
    """Three parts of one message, in messages within messages, the innermost tag first; `body` is copied once."""
    size = len(body) + len(tail)
    for tag in tags:
        head = tag + varint(len(head) + size) + head
    return b"".join((head, body, tail))


def body_of(data: bytes, tag: int) -> tuple[bytes, bool] | None:
    """The bytes and the end of a message that is nothing but one HttpBody under `tag` (of one byte); else None."""
    size = len(data)
    if size < 2 or data[0] != tag:
        return None
    length, at = _length(data, 1)
    if at + length != size:
        return None
    content, end = b"", False
    if at < size and data[at] == 0x0A:
        length, start = _length(data, at + 1)
        at = start + length
        if start < 0 or at > size:
            return None
        content = data[start:at]
    if size - at == 2 and data[at] == 0x10 and data[at + 1] <= 1:
        end = data[at + 1] == 1
        at = size
    return (content, end) if at == size else None


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A length and where what it measures begins; no place at all where it is none."""
    length = shift = 0
    for position in range(at, min(at + 5, len(data))):
        byte = data[position]
        length |= (byte & 0x7F) << shift
        if byte < 128:
            return length, position + 1
        shift += 7
    return 0, -1
