"""`ext_proc` protobuf bytes to events, replies to bytes. No state, no decisions.

Replies are written as bytes (`wire.py`), since they have few fields and are many; messages are read by the protobuf
library, but for bodies that come alone.

Header values are read from `raw_value`, else `value` (agentgateway fills the latter for pseudo headers); written as
`raw_value` with OVERWRITE_IF_EXISTS_OR_ADD, since the default action appends. A reply's oneof is always set, an unset
one is an error for Envoy.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    Modes,
    Reply,
    Side,
    Trailers,
    TrailersReply,
)
from epp.protocol.wire import body_of, field, nested, varint
from protos.gen import ext_proc_pb2 as pb

__all__ = ["BadMessage", "decode", "encode"]

_DOUBLE = Packed("<d")
# By side: the tags of what answers headers and bodies, of a piece that goes on, innermost first, and whole trailers.
_HEADERS, _BODY, _TRAILERS = (b"\x0a", b"\x12"), (b"\x1a", b"\x22"), (b"\x2a\x00", b"\x32\x00")
_CHUNK = tuple((b"\x1a", b"\x1a", b"\x0a", tag) for tag in _BODY)
_BODIES = ((0x2A, Side.RESPONSE), (0x22, Side.REQUEST))  # by the tag of a message that is a body and nothing else


def decode(data: bytes) -> Event:
    """One `ProcessingRequest`. Raises `BadMessage`."""
    for tag, side in _BODIES:
        plain = body_of(data, tag)
        if plain is not None:
            return Body(side, plain[0], plain[1])
    try:
        message = pb.ProcessingRequest.FromString(data)
    except DecodeError as broken:
        raise BadMessage("not a ProcessingRequest") from broken
    return _event(message)


def _event(message: pb.ProcessingRequest) -> Event:
    modes = _modes(message.protocol_config) if message.HasField("protocol_config") else None
    match message.WhichOneof("request"):
        case "request_body":
            part = message.request_body
            return Body(Side.REQUEST, part.body, part.end_of_stream, _subset(message.metadata_context), modes)
        case "response_body":
            part = message.response_body
            return Body(Side.RESPONSE, part.body, part.end_of_stream, None, modes)
        case "request_headers":
            head = message.request_headers
            return Headers(
                Side.REQUEST,
                _headers(head.headers),
                head.end_of_stream,
                modes,
                _subset(message.metadata_context),
                attributes=_texts(message) if message.attributes else None,
            )
        case "response_headers":
            head = message.response_headers
            served = _served(message)
            told = _texts(message) if message.attributes else None
            return Headers(
                Side.RESPONSE, _headers(head.headers), head.end_of_stream, modes, served=served, attributes=told
            )
        case "request_trailers":
            return Trailers(Side.REQUEST, modes)
        case "response_trailers":
            return Trailers(Side.RESPONSE, modes)
        case _:
            raise BadMessage("a ProcessingRequest without headers, body or trailers")


def encode(reply: Reply) -> bytes:
    """One `ProcessingResponse`."""
    match reply:
        case Chunk():
            content = b"\x0a" + varint(len(reply.data)) if reply.data else b""
            return nested(_CHUNK[reply.side], content, reply.data, b"\x10\x01" if reply.end else b"")
        case BodyReply():
            mutation = b"" if reply.body is None else b"\x1a\x02\x10\x01"  # clear_body
            if reply.body:
                inner = b"\x0a" + varint(len(reply.body))
                mutation = nested((b"\x1a",), inner, reply.body)
            common = nested((b"\x0a", _BODY[reply.side]), b"", mutation, _common(reply.edits))
            return common + _metadata(reply.edits)
        case HeadersReply():
            common = nested((b"\x0a", _HEADERS[reply.side]), b"", _common(reply.edits))
            return common + _metadata(reply.edits) + _override(reply)
        case TrailersReply():
            return _TRAILERS[reply.side]
        case Immediate():
            return _immediate(reply)
        case Extend():
            return _duration(reply.seconds)


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
    """The destination for the load balancer, with the scores beside it."""
    if edits.destination is None:
        return b""
    values = _struct_field(DESTINATION, field(b"\x1a", edits.destination.encode()))
    if edits.scores:
        scores = [_struct_field(address, b"\x11" + _DOUBLE.pack(score)) for address, score in edits.scores.items()]
        values += _struct_field(SCORES, field(b"\x2a", b"".join(scores)))
    return field(b"\x42", _struct_field(ENVOY_LB, field(b"\x2a", values)))


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
    options = []
    for name, value in headers:
        raw = value.encode()
        header = field(b"\x0a", name.encode()) + (field(b"\x1a", raw) if raw else b"")
        options.append(field(b"\x0a", field(b"\x0a", header) + b"\x18\x02"))
    return b"".join(options)


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
