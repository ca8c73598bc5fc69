"""`ext_proc` messages to events: headers and bodies by hand (`wire.py`), everything else by the protobuf library.

A message's first field is what happened; what stands beside it is the same for most, so the library reads it once and
it is looked up from then on. What is written in any other way the library reads as a whole.

Header values are read from `raw_value`, else `value` (agentgateway fills the latter for pseudo headers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from epp.protocol.headers import ENVOY_LB, SERVED, SUBSET, SUBSET_NAMESPACE
from epp.protocol.messages import BadMessage, Body, BodyMode, Event, Headers, Modes, Side, Trailers
from epp.protocol.wire import body_of, first_part, headers_of
from protos.gen import ext_proc_pb2 as pb

_REQUEST, _RESPONSE = Side.REQUEST, Side.RESPONSE  # as in `exchange.py`
_SIDES = {0x12: _REQUEST, 0x1A: _RESPONSE, 0x22: _REQUEST, 0x2A: _RESPONSE}  # of headers and bodies
_BODY_TAGS = (0x22, 0x2A)
_OF_RESPONSE = (b"\x1a", b"\x2a", b"\x3a")
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


def is_of_response(data: bytes) -> bool:
    """Whether a message begins as those of a response do; `decode` tells what it is."""
    return data[:1] in _OF_RESPONSE


def piece_in(data: bytes) -> bytes | None:
    """What a message brings that is a piece of a response's body, with more to come, and written as everybody does.

    None for any other message, which `decode` is to read, and for one of 16 KiB and more. An answer has hundreds of
    pieces, so nothing is called here.
    """
    size = len(data)
    if size < 6 or data[0] != 0x2A or data[1] & data[2] >= 128:  # lengths of one byte or two, as in `first_part`
        return None
    length, at = data[1], 2
    if length >= 128:
        length, at = length & 0x7F | data[2] << 7, 3
    stop = at + length
    length, begin = data[at + 1], at + 2
    if length >= 128:
        length, begin = length & 0x7F | data[begin] << 7, begin + 1
    if data[at] != 0x0A or not length or begin + length != stop or stop > size:
        return None
    if stop < size:
        beside = _known.get(data[stop:])
        if beside is None or not beside.alone:
            return None
    return data[begin:stop]


def decode(data: bytes) -> Event:
    """One `ProcessingRequest`. Raises `BadMessage`."""
    side = _SIDES.get(data[0]) if data else None
    if side is not None:
        at, stop = first_part(data)
        if stop >= 0:
            rest = data[stop:]
            beside = (_known.get(rest) or _learn(rest)) if rest else _NOTHING
            if beside.alone:
                event = _read(side, data, at, stop, beside)
                if event is not None:
                    return event
    return _event(_parsed(data))


def _read(side: Side, data: bytes, at: int, stop: int, beside: _Beside) -> Event | None:
    """The event whose fields are written as everybody writes them; else None."""
    if data[0] in _BODY_TAGS:
        body = body_of(data, at, stop)
        subset = beside.subset if side is _REQUEST else None
        return None if body is None else Body(side, body[0], body[1], subset, beside.modes)
    head = headers_of(data, at, stop)
    if head is None:
        return None
    if side is _REQUEST:
        return Headers(side, head[0], head[1], beside.modes, beside.subset, None, beside.attributes)
    return Headers(side, head[0], head[1], beside.modes, None, beside.served, beside.attributes)


def _learn(data: bytes) -> _Beside:
    """What stands there, remembered where it is short."""
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
            return Body(_REQUEST, part.body, part.end_of_stream, beside.subset, beside.modes)
        case "response_body":
            part = message.response_body
            return Body(_RESPONSE, part.body, part.end_of_stream, None, beside.modes)
        case "request_headers":
            head = message.request_headers
            names = _headers(head.headers)
            return Headers(_REQUEST, names, head.end_of_stream, beside.modes, beside.subset, None, beside.attributes)
        case "response_headers":
            head = message.response_headers
            names = _headers(head.headers)
            return Headers(_RESPONSE, names, head.end_of_stream, beside.modes, None, beside.served, beside.attributes)
        case "request_trailers":
            return Trailers(_REQUEST, beside.modes)
        case "response_trailers":
            return Trailers(_RESPONSE, beside.modes)
        case _:
            raise BadMessage("a ProcessingRequest without headers, body or trailers")


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
