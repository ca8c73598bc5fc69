"""`ext_proc` protobuf bytes to events (`reading.py`), replies to bytes. No state, no decisions.

Replies are written as bytes (`wire.py`), since they have few fields and are many. Header values are written as
`raw_value` with OVERWRITE_IF_EXISTS_OR_ADD, since the default action appends. A reply's oneof is always set, an unset
one is an error for Envoy.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct as Packed

from epp.protocol.headers import DESTINATION, ENVOY_LB, SCORES
from epp.protocol.messages import (
    NO_EDITS,
    BadMessage,
    BodyReply,
    Chunk,
    Edits,
    Extend,
    HeadersReply,
    Immediate,
    Metadata,
    Reply,
    Side,
    TrailersReply,
)
from epp.protocol.reading import decode, is_of_response, piece_in
from epp.protocol.wire import field, nested, varint

__all__ = ["BadMessage", "chunk_head", "decode", "encode", "is_of_response", "piece_in"]

_DOUBLE = Packed("<d")
# By side: the tags of what answers headers and bodies, of a piece that goes on, innermost first, and whole trailers.
_HEADERS, _BODY, _TRAILERS = (b"\x0a", b"\x12"), (b"\x1a", b"\x22"), (b"\x2a\x00", b"\x32\x00")
_HEADERS_ALONE = tuple(nested((b"\x0a", tag), b"", b"") for tag in _HEADERS)  # the answer that changes nothing
_OPTION_SMALL = 122
_CHUNK = tuple((b"\x1a", b"\x1a", b"\x0a", tag) for tag in _BODY)


def encode(reply: Reply) -> bytes:
    """One `ProcessingResponse`."""
    match reply:
        case Chunk():
            tail = b"\x10\x01" if reply.end else b""
            chunk = b"".join((chunk_head(reply.side, len(reply.data), len(tail)), reply.data, tail))
            return chunk if reply.metadata is None else chunk + _told(reply.metadata)
        case BodyReply():
            mutation = b"" if reply.body is None else b"\x1a\x02\x10\x01"  # clear_body
            if reply.body:
                inner = b"\x0a" + varint(len(reply.body))
                mutation = nested((b"\x1a",), inner, reply.body)
            common = nested((b"\x0a", _BODY[reply.side]), b"", mutation, _common(reply.edits))
            common += _metadata(reply.edits)
            return common if reply.metadata is None else common + _told(reply.metadata)
        case HeadersReply():
            return _headers(reply)
        case TrailersReply():
            return _TRAILERS[reply.side] + _told(reply.metadata)
        case Immediate():
            return _immediate(reply)
        case Extend():
            return _duration(reply.seconds)


def _headers(reply: HeadersReply) -> bytes:
    if reply.edits is NO_EDITS and reply.override is None:
        return _HEADERS_ALONE[reply.side]
    common = nested((b"\x0a", _HEADERS[reply.side]), b"", _common(reply.edits))
    return common + _metadata(reply.edits) + _override(reply)


@lru_cache(4096)
def chunk_head(side: Side, size: int, tail: int) -> bytes:
    """What comes before the bytes of a `Chunk` of this size and its tail of so many more; most have one of a few."""
    content = b"\x0a" + varint(size) if size else b""
    return nested(_CHUNK[side], content, b"", b"", more=size + tail)


def _common(edits: Edits) -> bytes:
    """What a `CommonResponse` has beside a body."""
    if edits is NO_EDITS:
        return b""
    headers = _set_headers(edits.set)
    if edits.remove:
        headers += b"".join([field(b"\x12", name.encode()) for name in edits.remove])
    if edits.destination is not None:
        headers += _destination(edits.destination)
    common = field(b"\x12", headers) if headers else b""
    return common + b"\x28\x01" if edits.clear_route_cache else common


def _metadata(edits: Edits) -> bytes:
    """The destination for the load balancer, with the scores beside it, and what plugins tell."""
    if edits.destination is None:
        return b"" if edits.metadata is None else _told(edits.metadata)
    if not edits.scores and edits.metadata is None:
        return _plain_metadata(edits.destination)
    values = _struct_field(DESTINATION, field(b"\x1a", edits.destination.encode()))
    if edits.scores:
        scores = [_struct_field(address, b"\x11" + _DOUBLE.pack(score)) for address, score in edits.scores.items()]
        values += _struct_field(SCORES, field(b"\x2a", b"".join(scores)))
    return _told(edits.metadata or {}, values)


@lru_cache(4096)
def _plain_metadata(destination: str) -> bytes:
    """The destination alone; there are as many as endpoints, or lists of them."""
    return _told({}, _struct_field(DESTINATION, field(b"\x1a", destination.encode())))


def _told(metadata: Metadata | None, lb: bytes = b"") -> bytes:
    """`dynamic_metadata`, namespace by namespace; `lb` are fields of our own, which no plugin replaces."""
    if metadata is None:
        return b""
    namespaces = {ENVOY_LB: lb} if lb else {}
    for namespace, values in metadata.items():
        told = b"".join([_struct_field(name, _value(value)) for name, value in values.items()])
        namespaces[namespace] = told + namespaces.get(namespace, b"")  # of one name told twice, the last counts
    return field(b"\x42", b"".join([_struct_field(name, field(b"\x2a", told)) for name, told in namespaces.items()]))


def _value(value: str | float) -> bytes:
    return field(b"\x1a", value.encode()) if isinstance(value, str) else b"\x11" + _DOUBLE.pack(value)


def _struct_field(name: str, value: bytes) -> bytes:
    return field(b"\x0a", field(b"\x0a", name.encode()) + field(b"\x12", value))


def _override(reply: HeadersReply) -> bytes:
    """`mode_override`: response headers and both bodies, what is not asked for left out."""
    if reply.override is None:
        return b""
    modes = b"\x10\x02" if reply.skip_response else b""
    if reply.override.request:
        modes += b"\x18" + varint(reply.override.request)
    if reply.override.response:
        modes += b"\x20" + varint(reply.override.response)
    return field(b"\x4a", modes)


def _immediate(reply: Immediate) -> bytes:
    answer = field(b"\x0a", b"\x08" + varint(reply.status))
    headers = _set_headers(reply.headers)
    if headers:
        answer += field(b"\x12", headers)
    if reply.body:
        answer += field(b"\x1a", reply.body)
    if reply.details:
        answer += field(b"\x2a", reply.details.encode())
    return field(b"\x3a", answer)


def _duration(seconds: float) -> bytes:
    """`override_message_timeout`, to the millisecond."""
    whole, rest = divmod(round(seconds * 1000), 1000)
    duration = b"\x08" + varint(whole) if whole else b""
    return field(b"\x52", duration + b"\x10" + varint(rest * 1_000_000) if rest else duration)


def _set_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    """Options of a `HeaderMutation`, each with OVERWRITE_IF_EXISTS_OR_ADD (2)."""
    return b"".join([_option(name, value) for name, value in headers])


def _option(name: str, value: str) -> bytes:
    raw, header = value.encode(), _name(name)
    names, values = len(header), len(raw)
    if values and names + values < _OPTION_SMALL:  # as nearly all: each length is one byte
        return b"\x0a%c\x0a%c%b\x1a%c%b\x18\x02" % (names + values + 6, names + values + 2, header, values, raw)
    if raw:
        header += b"\x1a" + varint(values) + raw
    option = b"\x0a" + varint(len(header)) + header + b"\x18\x02"
    return b"\x0a" + varint(len(option)) + option


@lru_cache(4096)
def _destination(address: str) -> bytes:
    return _option(DESTINATION, address)


@lru_cache(1024)
def _name(name: str) -> bytes:
    return field(b"\x0a", name.encode())
