"""`ext_proc` protobuf bytes to events, replies to bytes. No state, no decisions.

Header values are read from `raw_value`, else `value` (agentgateway fills the latter for pseudo headers); written as
`raw_value` with OVERWRITE_IF_EXISTS_OR_ADD, since the default action appends. A reply's oneof is always set, an unset
one is an error for Envoy.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from epp.protocol.headers import DESTINATION, ENVOY_LB, SCORES, SERVED, SUBSET, SUBSET_NAMESPACE
from epp.protocol.messages import (
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
from protos.gen import ext_proc_pb2 as pb

__all__ = ["BadMessage", "decode", "encode"]

OVERWRITE = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def decode(data: bytes) -> Event:
    """One `ProcessingRequest`. Raises `BadMessage`."""
    try:
        message = pb.ProcessingRequest.FromString(data)
    except DecodeError as broken:
        raise BadMessage("not a ProcessingRequest") from broken
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
    message = pb.ProcessingResponse()
    match reply:
        case Chunk():
            body = message.request_body if reply.side is Side.REQUEST else message.response_body
            streamed = body.response.body_mutation.streamed_response
            streamed.body = reply.data
            streamed.end_of_stream = reply.end
        case BodyReply():
            body = message.request_body if reply.side is Side.REQUEST else message.response_body
            body.response.SetInParent()
            if reply.body:
                body.response.body_mutation.body = reply.body
            elif reply.body is not None:
                body.response.body_mutation.clear_body = True
            _edit(message, body.response, reply.edits)
        case HeadersReply():
            head = message.request_headers if reply.side is Side.REQUEST else message.response_headers
            head.response.SetInParent()
            _edit(message, head.response, reply.edits)
            if reply.override is not None:
                message.mode_override.request_body_mode = _wire(reply.override.request)
                message.mode_override.response_body_mode = _wire(reply.override.response)
                if reply.skip_response:
                    message.mode_override.response_header_mode = pb.ProcessingMode.SKIP
        case TrailersReply():
            (message.request_trailers if reply.side is Side.REQUEST else message.response_trailers).SetInParent()
        case Immediate():
            answer = message.immediate_response
            answer.status.code = reply.status
            answer.body = reply.body
            answer.details = reply.details
            _set_headers(answer.headers, reply.headers)
        case Extend():
            message.override_message_timeout.FromMilliseconds(round(reply.seconds * 1000))
    return message.SerializeToString()


def _edit(message: pb.ProcessingResponse, common: pb.CommonResponse, edits: Edits) -> None:
    if edits.set or edits.remove:
        _set_headers(common.header_mutation, edits.set)
        common.header_mutation.remove_headers.extend(edits.remove)
    if edits.destination is not None:
        _set_headers(common.header_mutation, [(DESTINATION, edits.destination)])
        lb = message.dynamic_metadata.fields[ENVOY_LB].struct_value
        lb.fields[DESTINATION].string_value = edits.destination
        for address, score in (edits.scores or {}).items():
            lb.fields[SCORES].struct_value.fields[address].number_value = score
    common.clear_route_cache = edits.clear_route_cache


def _set_headers(mutation: pb.HeaderMutation, headers: object) -> None:
    for name, value in headers:  # type: ignore[attr-defined]  # pairs; checked where they are made
        option = mutation.set_headers.add()
        option.header.key = name
        option.header.raw_value = value.encode()
        option.append_action = OVERWRITE


def _headers(headers: pb.HeaderMap) -> dict[str, str]:
    """Lower-case names; of a repeated header the last value wins, as in the reference picker."""
    return {h.key.lower(): h.raw_value.decode("utf-8", "replace") if h.raw_value else h.value for h in headers.headers}


def _wire(mode: BodyMode) -> pb.ProcessingMode.BodySendMode:
    return pb.ProcessingMode.BodySendMode.Value(mode.name)  # type: ignore[return-value]  # the stub says int subclass


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
