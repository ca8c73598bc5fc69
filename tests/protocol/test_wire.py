"""Bytes written and read by hand mean what the protobuf library makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2 as modes_pb
from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from epp.protocol.codec import chunk_head, decode, encode, piece_in
from epp.protocol.headers import SERVED, SUBSET, SUBSET_NAMESPACE
from epp.protocol.messages import (
    BadMessage,
    Body,
    BodyMode,
    BodyReply,
    Chunk,
    Edits,
    Extend,
    Headers,
    HeadersReply,
    Immediate,
    Modes,
    Reply,
    Side,
    TrailersReply,
)
from epp.protocol.wire import body_of, first_part, varint

SIDES = st.sampled_from(Side)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=4)
BODIES = st.one_of(st.binary(max_size=300), st.sampled_from([bytes(127), bytes(128), bytes(16_383), bytes(70_000)]))
EDITS = st.builds(
    Edits,
    set=PAIRS,
    remove=st.lists(TEXTS, max_size=3),
    destination=st.none() | TEXTS,
    clear_route_cache=st.booleans(),
    scores=st.none() | st.dictionaries(TEXTS, st.floats(allow_nan=False), max_size=3),
)
MODES = st.none() | st.builds(Modes, st.sampled_from(BodyMode), st.sampled_from(BodyMode))
REPLIES = st.one_of(
    st.builds(Chunk, SIDES, BODIES, st.booleans()),
    st.builds(BodyReply, SIDES, st.none() | BODIES, EDITS),
    st.builds(HeadersReply, SIDES, EDITS, MODES, st.booleans()),
    st.builds(TrailersReply, SIDES),
    st.builds(Extend, st.sampled_from([0.001, 0.5, 1.0, 29.9995, 600.0])),
    st.builds(Immediate, st.sampled_from([200, 404, 503]), PAIRS, BODIES, TEXTS),
)


@given(REPLIES)
def test_a_reply_is_what_the_library_would_have_written(reply: Reply) -> None:
    assert envoy.ProcessingResponse.FromString(encode(reply)) == built(reply)


@given(SIDES, BODIES, st.booleans(), st.booleans(), st.booleans())
@example(Side.REQUEST, b"", False, False, False)
def test_a_body_is_read_alike_whether_it_comes_alone_or_not(
    side: Side, data: bytes, end: bool, metadata: bool, config: bool
) -> None:
    message = envoy.ProcessingRequest()
    part = message.request_body if side is Side.REQUEST else message.response_body
    part.body, part.end_of_stream = data, end
    if metadata:
        message.metadata_context.SetInParent()
    if config:
        message.protocol_config.SetInParent()

    assert decode(message.SerializeToString()) == Body(side, data, end, None, _modes(config))


@given(BODIES.filter(len), st.booleans())
def test_a_piece_of_an_answer_goes_on_as_it_would_by_its_values(data: bytes, metadata: bool) -> None:
    message = envoy.ProcessingRequest()
    message.response_body.body = data
    if metadata:
        message.metadata_context.SetInParent()
    said = message.SerializeToString()
    event = decode(said)  # what stands beside is known from then on

    assert piece_in(said) == (data if len(said) > 5 and len(data) < 16_380 else None)
    assert isinstance(event, Body)
    assert chunk_head(Side.RESPONSE, len(data), 0) + data == encode(Chunk(Side.RESPONSE, data, False))


def request_headers() -> bytes:
    message = envoy.ProcessingRequest()
    message.request_headers.SetInParent()
    return message.SerializeToString()


OUTER, INNER = st.sampled_from([3, 4, 10, 129, 131, 200]), st.sampled_from([0, 1, 8, 127, 128, 197])
CHANGES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 255)), max_size=3)


@given(OUTER, INNER, st.binary(max_size=300), CHANGES)
@example(10, 8, b"cut", [])
@example(3, 1, b"x" + request_headers(), [])  # of two events in a message the last one counts
@example(2, 0, b"\x42\x00", [])  # a piece of nothing, and what stands beside it
@example(6, 4, b"four", [(2, 0x12)])
@example(16_384, 0, bytes(16_381), [(1, 0x80), (2, 0x80), (3, 0x0A), (4, 0xFD), (5, 0x7F)])  # a length of four bytes
def test_what_is_taken_for_a_piece_of_an_answer_is_one(
    outer: int, inner: int, content: bytes, changes: list[tuple[int, int]]
) -> None:
    said = bytearray(b"\x2a" + varint(outer) + b"\x0a" + varint(inner) + content)
    for place, byte in changes:
        if place < len(said):
            said[place] = byte
    try:
        event = decode(bytes(said))  # what stands beside is known from then on
    except BadMessage:
        event = None
    found = piece_in(bytes(said))

    if found is not None:
        assert isinstance(event, Body)
        assert (event.side, event.data, event.end) == (Side.RESPONSE, found, False)
        assert found


@given(st.binary(max_size=40))
def test_what_is_taken_for_a_body_is_one(data: bytes) -> None:
    for tag, name in ((b"\x22", "request_body"), (b"\x2a", "response_body")):
        at, stop = first_part(tag + data)
        found = body_of(tag + data, at, stop) if stop >= 0 else None
        if found is not None:
            message = envoy.ProcessingRequest.FromString((tag + data)[:stop])
            part = getattr(message, name)

            assert (part.body, part.end_of_stream) == found
            message.ClearField("request")
            assert message == envoy.ProcessingRequest()


NAMES = st.sampled_from([":path", "content-type", "X-Request-Id", "cookie", "", "n" * 130]) | TEXTS
VALUES = st.sampled_from([b"", b"/v1/chat/completions", b"application/json", b"\xff\xfe", b"v" * 127, b"v" * 200])
HEADERS = st.lists(st.tuples(NAMES, VALUES | st.binary(max_size=150), st.booleans()), max_size=6)


def headers_message(side: Side, headers: list[tuple[str, bytes, bool]], end: bool, beside: bool) -> Any:
    """Values go into `raw_value`, or (true) as text into `value`, as some gateways have it."""
    message = envoy.ProcessingRequest()
    part = message.request_headers if side is Side.REQUEST else message.response_headers
    part.end_of_stream = end
    part.headers.SetInParent()
    for name, value, as_text in headers:
        if as_text:
            part.headers.headers.add(key=name, value=value.decode("utf-8", "replace"))
        else:
            part.headers.headers.add(key=name, raw_value=value)
    if beside:
        message.protocol_config.request_body_mode = 2
        message.metadata_context.filter_metadata["envoy.lb"].fields[SERVED].string_value = "10.0.0.1:8000"
        message.metadata_context.filter_metadata[SUBSET_NAMESPACE].fields[SUBSET].string_value = "10.0.0.1:8000"
        message.attributes["envoy.filters.http.ext_proc"].fields["xds.route_name"].string_value = "r"
    return message


@given(SIDES, HEADERS, st.booleans(), st.booleans())
def test_headers_are_read_as_the_library_reads_them_again_and_again(
    side: Side, headers: list[tuple[str, bytes, bool]], end: bool, beside: bool
) -> None:
    data = headers_message(side, headers, end, beside).SerializeToString()
    expected = {
        name.lower(): value.decode("utf-8", "replace") for name, value, _ in headers
    }  # the last of a name counts
    request, told = side is Side.REQUEST, None
    if beside:
        told = {"xds.route_name": "r"}
    for _ in range(2):  # the second time much of it is known
        event = decode(data)

        assert event == Headers(
            side,
            expected,
            end,
            Modes(BodyMode.BUFFERED, BodyMode.NONE) if beside else None,
            frozenset({"10.0.0.1:8000"}) if beside and request else None,
            "10.0.0.1:8000" if beside and not request else None,
            told,
        )


@given(SIDES, HEADERS, st.data())
def test_a_message_that_is_cut_or_changed_is_read_as_the_library_reads_it(
    side: Side, headers: list[tuple[str, bytes, bool]], data: st.DataObject
) -> None:
    whole = bytearray(headers_message(side, headers, True, True).SerializeToString())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        message = envoy.ProcessingRequest.FromString(changed)
    except DecodeError:
        with pytest.raises(BadMessage):
            decode(changed)
        return
    try:
        event = decode(changed)
    except BadMessage:
        assert not message.HasField("request") or unknown_mode(message)
        return

    kind = message.WhichOneof("request")
    part = getattr(message, kind)
    assert event.side is (Side.REQUEST if kind.startswith("request") else Side.RESPONSE)
    assert (event.modes is not None) is message.HasField("protocol_config")
    if isinstance(event, Headers):
        assert kind.endswith("headers")
        assert event.end == part.end_of_stream
        assert event.headers == {
            h.key.lower(): h.raw_value.decode("utf-8", "replace") if h.raw_value else h.value
            for h in part.headers.headers
        }
    if isinstance(event, Body):
        assert (event.data, event.end) == (part.body, part.end_of_stream)


def unknown_mode(message: Any) -> bool:
    config = message.protocol_config
    return not {config.request_body_mode, config.response_body_mode} <= {int(mode) for mode in BodyMode}


@given(st.integers(0, 1 << 40))
def test_numbers_are_written_as_the_library_writes_them(number: int) -> None:
    message = modes_pb.ProcessingMode()
    message.ParseFromString(b"\xf8\x07" + varint(number))  # a field nobody knows is kept as it came

    assert message.SerializeToString() == b"\xf8\x07" + varint(number)


def _modes(config: bool) -> Modes | None:
    return Modes(BodyMode.NONE, BodyMode.NONE) if config else None


def built(reply: Reply) -> envoy.ProcessingResponse:
    """The reply field by field."""
    message = envoy.ProcessingResponse()
    match reply:
        case Chunk():
            body = message.request_body if reply.side is Side.REQUEST else message.response_body
            streamed = body.response.body_mutation.streamed_response
            streamed.SetInParent()
            streamed.body, streamed.end_of_stream = reply.data, reply.end
        case BodyReply():
            body = message.request_body if reply.side is Side.REQUEST else message.response_body
            body.response.SetInParent()
            if reply.body:
                body.response.body_mutation.body = reply.body
            elif reply.body is not None:
                body.response.body_mutation.clear_body = True
            edit(message, body.response, reply.edits)
        case HeadersReply():
            head = message.request_headers if reply.side is Side.REQUEST else message.response_headers
            head.response.SetInParent()
            edit(message, head.response, reply.edits)
            if reply.override is not None:
                message.mode_override.SetInParent()
                message.mode_override.request_body_mode = int(reply.override.request)
                message.mode_override.response_body_mode = int(reply.override.response)
                if reply.skip_response:
                    message.mode_override.response_header_mode = modes_pb.ProcessingMode.SKIP
        case TrailersReply():
            (message.request_trailers if reply.side is Side.REQUEST else message.response_trailers).SetInParent()
        case Immediate():
            answer = message.immediate_response
            answer.status.code = reply.status
            answer.body, answer.details = reply.body, reply.details
            set_headers(answer.headers, reply.headers)
        case Extend():
            message.override_message_timeout.FromMilliseconds(round(reply.seconds * 1000))
    return message


def edit(message: envoy.ProcessingResponse, common: Any, edits: Edits) -> None:
    if edits.set or edits.remove:
        set_headers(common.header_mutation, edits.set)
        common.header_mutation.remove_headers.extend(edits.remove)
    common.clear_route_cache = edits.clear_route_cache
    if edits.destination is not None:
        set_headers(common.header_mutation, [("x-gateway-destination-endpoint", edits.destination)])
        lb = message.dynamic_metadata.fields["envoy.lb"].struct_value
        lb.fields["x-gateway-destination-endpoint"].string_value = edits.destination
        for address, score in (edits.scores or {}).items():
            lb.fields["x-gateway-destination-endpoint-scores"].struct_value.fields[address].number_value = score


def set_headers(mutation: Any, headers: Any) -> None:
    for name, value in headers:
        option = mutation.set_headers.add()
        option.header.key, option.header.raw_value = name, value.encode()
        option.append_action = option.OVERWRITE_IF_EXISTS_OR_ADD
