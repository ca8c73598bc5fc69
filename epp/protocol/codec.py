"""`ext_proc` protobuf bytes to events, replies to bytes. No state, no decisions.

Replies are written as bytes (`wire.py`), since they have few fields and are many. Messages are read so, too: their
first field is what happened; what stands beside it is the same for most, so the protobuf library reads it once and it
is looked up from then on. What is written in any other way the library reads as a whole.

Header values are read from `raw_value`, else `value` (agentgateway fills the latter for pseudo headers); written as
`raw_value` with OVERWRITE_IF_EXISTS_OR_ADD, since the default action appends. A reply's oneof is always set, an unset
one is an error for Envoy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct as Packed

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from epp.protocol.headers import DESTINATION, ENVOY_LB, SCORES, SERVED, SUBSET, SUBSET_NAMESPACE
from epp.protocol.messages import (
    NO_EDITS,
    BadMessage,
    Body,
    BodyMode,
    BodyReply,
    Chunk,
    Edits,
    Event,
    Extend,
    Headers,
    HeadersReply,
    Immediate,
    Metadata,
    Modes,
    Reply,
    Side,
    Trailers,
    TrailersReply,
)
from epp.protocol.wire import body_of, field, first_part, headers_of, nested, varint
from protos.gen import ext_proc_pb2 as pb

__all__ = ["BadMessage", "decode", "encode"]

_DOUBLE = Packed("<d")
# By side: the tags of what answers headers and bodies, of a piece that goes on, innermost first, and whole trailers.
_HEADERS, _BODY, _TRAILERS = (b"\x0a", b"\x12"), (b"\x1a", b"\x22"), (b"\x2a\x00", b"\x32\x00")
_CHUNK = tuple((b"\x1a", b"\x1a", b"\x0a", tag) for tag in _BODY)
_SIDES = {0x12: Side.REQUEST, 0x1A: Side.RESPONSE, 0x22: Side.REQUEST, 0x2A: Side.RESPONSE}  # of headers and bodies
_BODY_TAGS = (0x22, 0x2A)
# Beside headers and bodies stands what the gateway is configured to tell: so many of these are remembered, so long.
_KNOWN_MAX, _KNOWN_BYTES_MAX = 1024, 1024


@dataclass(frozen=True, slots=True)
class _Beside:
    """What stands beside the event in a message; `alone` is false where another event does."""

    modes: Modes | None = None
    subset: frozenset[str] | None = None
    served: str | None = None
    attributes: Mapping[str, str] | None = None
    alone: bool = True


_NOTHING = _Beside()
_known: dict[bytes, _Beside] = {}


def decode(data: bytes) -> Event:
    """One `ProcessingRequest`. Raises `BadMessage`."""
    tag = data[0] if data else 0
    if tag in _SIDES:
        at, stop = first_part(data)
        if stop >= 0:
            beside = _beside(data[stop:]) if stop < len(data) else _NOTHING
            if beside.alone:
                event = _read(tag, data, at, stop, beside)
                if event is not None:
                    return event
    return _event(_parsed(data))


def _read(tag: int, data: bytes, at: int, stop: int, beside: _Beside) -> Event | None:
    """The event whose fields are written as everybody writes them; else None."""
    side = _SIDES[tag]
    if tag in _BODY_TAGS:
        body = body_of(data, at, stop)
        subset = beside.subset if side is Side.REQUEST else None
        return None if body is None else Body(side, body[0], body[1], subset, beside.modes)
    head = headers_of(data, at, stop)
    if head is None:
        return None
    if side is Side.REQUEST:
        return Headers(side, head[0], head[1], beside.modes, beside.subset, None, beside.attributes)
    return Headers(side, head[0], head[1], beside.modes, None, beside.served, beside.attributes)


def _beside(data: bytes) -> _Beside:
    found = _known.get(data)
    if found is None:
        found = _told_beside(_parsed(data))
        if len(data) <= _KNOWN_BYTES_MAX:
            if len(_known) >= _KNOWN_MAX:
                _known.clear()
            _known[data] = found
    return found


def _told_beside(message: pb.ProcessingRequest) -> _Beside:
    return _Beside(
        _modes(message.protocol_config) if message.HasField("protocol_config") else None,
        _subset(message.metadata_context),
        _served(message),
        _texts(message) if message.attributes else None,
        message.WhichOneof("request") is None,
    )


def _parsed(data: bytes) -> pb.ProcessingRequest:
    try:
        return pb.ProcessingRequest.FromString(data)
    except DecodeError as broken:
        raise BadMessage("not a ProcessingRequest") from broken


def _event(message: pb.ProcessingRequest) -> Event:
    beside = _told_beside(message)
    match message.WhichOneof("request"):
        case "request_body":
            part = message.request_body
            return Body(Side.REQUEST, part.body, part.end_of_stream, beside.subset, beside.modes)
        case "response_body":
            part = message.response_body
            return Body(Side.RESPONSE, part.body, part.end_of_stream, None, beside.modes)
        case "request_headers":
            head = message.request_headers
            names = _headers(head.headers)
            return Headers(
                Side.REQUEST, names, head.end_of_stream, beside.modes, beside.subset, None, beside.attributes
            )
        case "response_headers":
            head = message.response_headers
            names = _headers(head.headers)
            return Headers(
                Side.RESPONSE, names, head.end_of_stream, beside.modes, None, beside.served, beside.attributes
            )
        case "request_trailers":
            return Trailers(Side.REQUEST, beside.modes)
        case "response_trailers":
            return Trailers(Side.RESPONSE, beside.modes)
        case _:
            raise BadMessage("a ProcessingRequest without headers, body or trailers")


def encode(reply: Reply) -> bytes:
    """One `ProcessingResponse`."""
    match reply:
        case Chunk():
            tail = b"\x10\x01" if reply.end else b""
            chunk = b"".join((_chunk_head(reply.side, len(reply.data), len(tail)), reply.data, tail))
            return chunk if reply.metadata is None else chunk + _told(reply.metadata)
        case BodyReply():
            mutation = b"" if reply.body is None else b"\x1a\x02\x10\x01"  # clear_body
            if reply.body:
                inner = b"\x0a" + varint(len(reply.body))
                mutation = nested((b"\x1a",), inner, reply.body)
            common = nested((b"\x0a", _BODY[reply.side]), b"", mutation, _common(reply.edits))
            return common + _metadata(reply.edits) + _told(reply.metadata)
        case HeadersReply():
            common = nested((b"\x0a", _HEADERS[reply.side]), b"", _common(reply.edits))
            return common + _metadata(reply.edits) + _override(reply)
        case TrailersReply():
            return _TRAILERS[reply.side] + _told(reply.metadata)
        case Immediate():
            return _immediate(reply)
        case Extend():
            return _duration(reply.seconds)


@lru_cache(4096)
def _chunk_head(side: Side, size: int, tail: int) -> bytes:
    """What comes before the bytes of a chunk of this size; most have one of a few."""
    content = b"\x0a" + varint(size) if size else b""
    return nested(_CHUNK[side], content, b"", b"", more=size + tail)


def _common(edits: Edits) -> bytes:
    """What a `CommonResponse` has beside a body."""
    if edits is NO_EDITS:
        return b""
    headers = _set_headers(edits.set)
    headers += b"".join([field(b"\x12", name.encode()) for name in edits.remove])
    if edits.destination is not None:
        headers += _set_headers([(DESTINATION, edits.destination)])
    common = field(b"\x12", headers) if headers else b""
    return common + b"\x28\x01" if edits.clear_route_cache else common


def _metadata(edits: Edits) -> bytes:
    """The destination for the load balancer, with the scores beside it, and what plugins tell."""
    if edits.destination is None:
        return _told(edits.metadata)
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
    raw = value.encode()
    header = _name(name)
    if raw:
        header += b"\x1a" + varint(len(raw)) + raw
    option = b"\x0a" + varint(len(header)) + header + b"\x18\x02"
    return b"\x0a" + varint(len(option)) + option


@lru_cache(1024)
def _name(name: str) -> bytes:
    return field(b"\x0a", name.encode())


def _headers(headers: pb.HeaderMap) -> dict[str, str]:
    """Lower-case names; of a repeated header the last value wins, as in the reference picker."""
    return {h.key.lower(): h.raw_value.decode("utf-8", "replace") if h.raw_value else h.value for h in headers.headers}


def _modes(config: pb.ProtocolConfiguration) -> Modes:
    eager = config.send_body_without_waiting_for_header_response
    try:
        return Modes(BodyMode(config.request_body_mode), BodyMode(config.response_body_mode), eager)
    except ValueError as unknown:
        raise BadMessage(f"a body mode that is not known: {unknown}") from unknown


def _subset(metadata: pb.Metadata) -> frozenset[str] | None:
    """The gateway's subset hint: a list of addresses, or a string with commas; None when there is no hint."""
    if SUBSET_NAMESPACE not in metadata.filter_metadata:
        return None
    fields = metadata.filter_metadata[SUBSET_NAMESPACE].fields
    if SUBSET not in fields:
        return None
    value = fields[SUBSET]
    if value.HasField("string_value"):
        entries = value.string_value.split(",")
    else:
        entries = [v.string_value for v in value.list_value.values]
    return frozenset(entry.strip() for entry in entries if entry.strip())


def _served(message: pb.ProcessingRequest) -> str | None:
    """The endpoint that answered: the gateway's metadata, else the attribute `upstream.address` where it is sent."""
    metadata = message.metadata_context.filter_metadata
    if ENVOY_LB in metadata and SERVED in metadata[ENVOY_LB].fields:
        return metadata[ENVOY_LB].fields[SERVED].string_value or None
    for attributes in message.attributes.values():
        address = _attribute(attributes, "upstream.address")
        if address:
            return address
    return None


def _texts(message: pb.ProcessingRequest) -> dict[str, str]:
    """The attributes that are texts, such as `xds.route_name`."""
    return {
        name: value.string_value
        for attributes in message.attributes.values()
        for name, value in attributes.fields.items()
        if value.string_value
    }


def _attribute(attributes: Struct, name: str) -> str | None:
    return attributes.fields[name].string_value or None if name in attributes.fields else None
