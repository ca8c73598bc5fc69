"""Protobuf's wire format, as much of it as the messages need that every request and every chunk brings.

Objects of the protobuf library cost more than the bytes they stand for; and a body is copied once here, however deep it
lies. What is written is what the library would read the same from (a test compares).
"""

from __future__ import annotations

from collections.abc import Iterable

# Headers that hold no secret and are alike in most requests are decoded once: so many of them, so long.
_ALIKE = frozenset(
    (
        *(":authority", ":method", ":path", ":scheme", ":status"),
        *("accept", "accept-encoding", "accept-language", "cache-control", "content-type", "server", "user-agent"),
        *("x-envoy-expected-rq-timeout-ms", "x-envoy-internal", "x-forwarded-proto", "x-stainless-lang"),
    )
)
_PAIRS_MAX, _PAIR_BYTES_MAX = 512, 96
_pairs: dict[bytes, tuple[str, str]] = {}
_SMALL = tuple(bytes((number,)) for number in range(128))


def varint(number: int) -> bytes:
    """A number that is not negative."""
    if number < 128:
        return _SMALL[number]
    if number < 16384:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number >= 128:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: bytes, content: bytes) -> bytes:
    """A field with a length: text, bytes or a message. `tag` is its number and wire type 2, as it is written."""
    return tag + varint(len(content)) + content


def nested(tags: Iterable[bytes], head: bytes, body: bytes, tail: bytes = b"", more: int = 0) -> bytes:
    """Three parts of one message, in messages within messages, the innermost tag first; `body` is copied once.

    So many bytes `more` will follow that belong to it.
    """
    size = len(body) + len(tail) + more
    for tag in tags:
        head = tag + varint(len(head) + size) + head
    return b"".join((head, body, tail))


def first_part(data: bytes) -> tuple[int, int]:
    """Where the content of a message's first field begins and ends, if its tag is one byte; (0, -1) if it does not."""
    size = len(data)
    # A length of one byte or two, as nearly all are, without a call of `_length`.
    if size < 3 or data[1] & data[2] >= 128:
        length, at = _length(data, 1)
    elif (length := data[1]) < 128:
        at = 2
    else:
        length, at = length & 0x7F | data[2] << 7, 3
    return (at, at + length) if 0 < at <= size - length else (0, -1)


def body_of(data: bytes, at: int, stop: int) -> tuple[bytes, bool] | None:
    """The bytes and the end of an HttpBody that lies there and has no other field; else None."""
    content, end = b"", False
    if at < stop and data[at] == 0x0A:
        if at + 2 >= stop or data[at + 1] & data[at + 2] >= 128:  # as in `first_part`
            length, start = _length(data, at + 1)
        elif (length := data[at + 1]) < 128:
            start = at + 2
        else:
            length, start = length & 0x7F | data[at + 2] << 7, at + 3
        at = start + length
        if start < 0 or at > stop:
            return None
        content = data[start:at]
    if stop - at == 2 and data[at] == 0x10 and data[at + 1] <= 1:
        end = data[at + 1] == 1
        at = stop
    return (content, end) if at == stop else None


def headers_of(data: bytes, at: int, stop: int) -> tuple[dict[str, str], bool] | None:
    """The headers and the end of an HttpHeaders that lies there and has no other field; else None.

    Names in lower case. Of a repeated header the last value wins, as in the reference picker. Each must have a
    name of less than 128 bytes, and a `raw_value` or none.
    """
    length, at = _length(data, at + 1) if at < stop and data[at] == 0x0A else (0, -1)
    last = at + length
    if at < 0 or last > stop:
        return None
    end = stop - last == 2 and data[last] == 0x18 and data[last + 1] == 1
    if last != stop and not end:
        return None
    headers: dict[str, str] = {}
    known_pair = _pairs.get
    try:
        while at < last:
            begin = at + 2
            after = begin + data[at + 1]
            if after - begin >= 128:
                size, begin = _length(data, at + 1)
                after = begin + size
            pair = known_pair(data[at:after]) or _header(data, at, begin, after)
            if pair is None:
                return None
            headers[pair[0]] = pair[1]
            at = after
    except (IndexError, UnicodeDecodeError):
        return None
    return (headers, end) if at == last else None


def _header(data: bytes, at: int, begin: int, after: int) -> tuple[str, str] | None:
    """The header whose field begins at `at`, and its content at `begin`."""
    name_size = data[begin + 1]
    name_stop = begin + 2 + name_size
    if begin < 0 or data[at] != 0x0A or data[begin] != 0x0A or name_size >= 128 or name_stop > after:
        return None
    name, value = data[begin + 2 : name_stop].decode().lower(), ""
    if name_stop < after:
        value_size, start = data[name_stop + 1], name_stop + 2
        if value_size >= 128:
            value_size, start = _length(data, name_stop + 1)
        if data[name_stop] != 0x1A or start < 0 or start + value_size != after:
            return None
        value = data[start:after].decode("utf-8", "replace")
    if name in _ALIKE:
        _remember(data[at:after], name, value)
    return name, value


def _remember(field: bytes, name: str, value: str) -> None:
    if len(field) <= _PAIR_BYTES_MAX and "?" not in value:
        if len(_pairs) >= _PAIRS_MAX:
            _pairs.clear()
        _pairs[field] = name, value


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A length and where what it measures begins; no place at all where it is none."""
    size = len(data)
    if at < size:
        first = data[at]
        if first < 128:
            return first, at + 1
        if at + 1 < size:
            second = data[at + 1]
            if second < 128:  # so far nearly all
                return first & 0x7F | second << 7, at + 2
    length = shift = 0
    for position in range(at, min(at + 5, size)):
        byte = data[position]
        length |= (byte & 0x7F) << shift
        if byte < 128:
            return length, position + 1
        shift += 7
    return 0, -1
