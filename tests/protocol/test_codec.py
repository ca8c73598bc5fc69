"""Protobuf bytes to events and back, with Envoy's own generated messages as the other side."""

from __future__ import annotations

from contextlib import suppress

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy
from hypothesis import given
from hypothesis import strategies as st

from epp.protocol.codec import BadMessage, decode, encode
from epp.protocol.messages import (
    Body,
    BodyMode,
    BodyReply,
    Chunk,
    Edits,
    Headers,
    HeadersReply,
    Immediate,
    Modes,
    Reply,
    Side,
    Trailers,
    TrailersReply,
)


def request_headers(**config: int) -> envoy.ProcessingRequest:
    message = envoy.ProcessingRequest()
    message.request_headers.SetInParent()
    for name, value in config.items():
        setattr(message.protocol_config, name, value)
    return message


def answered(reply: Reply) -> envoy.ProcessingResponse:
    return envoy.ProcessingResponse.FromString(encode(reply))


def test_headers_are_lower_case_and_raw_values_win() -> None:
    message = request_headers(request_body_mode=4, response_body_mode=4)
    for key, value, raw in [("X-Test", "v", b""), (":path", "", b"/v1"), ("both", "v", b"r"), ("twice", "", b"1")]:
        message.request_headers.headers.headers.add(key=key, value=value, raw_value=raw)
    message.request_headers.headers.headers.add(key="twice", raw_value=b"2")
    event = decode(message.SerializeToString())

    assert isinstance(event, Headers)
    assert event.headers == {"x-test": "v", ":path": "/v1", "both": "r", "twice": "2"}
    assert event.modes == Modes(BodyMode.FULL_DUPLEX_STREAMED, BodyMode.FULL_DUPLEX_STREAMED)


def test_an_empty_protocol_config_is_not_an_absent_one() -> None:
    message = request_headers()
    absent = decode(message.SerializeToString())
    message.protocol_config.SetInParent()
    empty = decode(message.SerializeToString())

    assert absent.modes is None
    assert empty.modes == Modes(BodyMode.NONE, BodyMode.NONE)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (None, None),
        (["a:1", "b:2"], {"a:1", "b:2"}),
        ("a:1, b:2", {"a:1", "b:2"}),
        ([], set()),
        (["a:1", 7], {"a:1"}),
    ],
)
def test_the_subset_hint_is_read_as_list_or_string(hint: object, expected: set[str] | None) -> None:
    message = envoy.ProcessingRequest()
    message.request_body.body = b"{}"
    message.request_body.end_of_stream = True
    if hint is not None:
        fields = message.metadata_context.filter_metadata["envoy.lb.subset_hint"]
        fields.update({"x-gateway-destination-endpoint-subset": hint})
    event = decode(message.SerializeToString())

    assert isinstance(event, Body)
    assert event.subset == expected


def test_the_served_endpoint_comes_from_metadata_or_attribute() -> None:
    message = envoy.ProcessingRequest()
    message.response_headers.SetInParent()
    message.attributes["envoy.filters.http.ext_proc"].update({"upstream.address": "10.0.0.2:8000"})
    by_attribute = decode(message.SerializeToString())
    message.metadata_context.filter_metadata["envoy.lb"].update(
        {"x-gateway-destination-endpoint-served": "10.0.0.3:8000"}
    )
    by_metadata = decode(message.SerializeToString())

    assert isinstance(by_attribute, Headers)
    assert isinstance(by_metadata, Headers)
    assert (by_attribute.served, by_metadata.served) == ("10.0.0.2:8000", "10.0.0.3:8000")


def test_what_the_gateway_says_of_an_answer_is_told() -> None:
    message = envoy.ProcessingRequest()
    message.response_headers.SetInParent()
    said = {"response.code": 503, "response.code_details": "via_upstream"}
    message.attributes["envoy.filters.http.ext_proc"].update(said)
    event = decode(message.SerializeToString())

    assert isinstance(event, Headers)
    assert event.attributes == {"response.code_details": "via_upstream"}


def test_trailers_are_told_by_side() -> None:
    message = envoy.ProcessingRequest()
    message.request_trailers.SetInParent()

    assert decode(message.SerializeToString()) == Trailers(Side.REQUEST)


def test_the_destination_is_the_same_in_header_and_metadata() -> None:
    message = answered(HeadersReply(Side.REQUEST, Edits([("x-selected-model", "m")], ["gone"], "[fd00::1]:8000", True)))
    common = message.request_headers.response
    set_headers = {h.header.key: (h.header.raw_value, h.append_action) for h in common.header_mutation.set_headers}

    assert set_headers == {"x-selected-model": (b"m", 2), "x-gateway-destination-endpoint": (b"[fd00::1]:8000", 2)}
    assert list(common.header_mutation.remove_headers) == ["gone"]
    assert message.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"] == "[fd00::1]:8000"
    assert common.clear_route_cache


@pytest.mark.parametrize(
    ("reply", "member"),
    [
        (HeadersReply(Side.REQUEST), "request_headers"),
        (HeadersReply(Side.RESPONSE), "response_headers"),
        (BodyReply(Side.REQUEST), "request_body"),
        (BodyReply(Side.RESPONSE), "response_body"),
        (TrailersReply(Side.REQUEST), "request_trailers"),
        (TrailersReply(Side.RESPONSE), "response_trailers"),
        (Chunk(Side.RESPONSE, b"", False), "response_body"),
        (Immediate(503, [], b""), "immediate_response"),
    ],
)
def test_an_empty_reply_still_says_which_phase_it_answers(reply: Reply, member: str) -> None:
    assert answered(reply).WhichOneof("response") == member


def test_a_chunk_is_a_streamed_response() -> None:
    streamed = answered(Chunk(Side.RESPONSE, b"x", True)).response_body.response.body_mutation.streamed_response

    assert (streamed.body, streamed.end_of_stream) == (b"x", True)


@pytest.mark.parametrize(("body", "kind"), [(None, None), (b"new", "body"), (b"", "clear_body")])
def test_a_body_reply_keeps_replaces_or_clears(body: bytes | None, kind: str | None) -> None:
    mutation = answered(BodyReply(Side.REQUEST, body)).request_body.response.body_mutation

    assert mutation.WhichOneof("mutation") == kind


def test_asking_for_the_body_names_both_body_modes() -> None:
    message = answered(HeadersReply(Side.REQUEST, override=Modes(BodyMode.BUFFERED, BodyMode.STREAMED)))

    assert (message.mode_override.request_body_mode, message.mode_override.response_body_mode) == (2, 1)


def test_a_refusal_keeps_status_headers_and_body() -> None:
    answer = answered(Immediate(429, [("retry-after", "2")], b"{}")).immediate_response

    assert (answer.status.code, answer.body) == (429, b"{}")
    assert answer.headers.set_headers[0].header.raw_value == b"2"


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"garbage"])
def test_what_is_no_message_is_a_clear_error(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_clear_error(data: bytes) -> None:
    with suppress(BadMessage):
        decode(data)


def test_what_plugins_tell_stands_beside_the_destination_and_never_in_its_place() -> None:
    metadata = {"envoy.lb": {"x-gateway-destination-endpoint": "evil", "tier": "gold"}, "billing": {"units": 0.0}}
    edits = Edits(destination="10.0.0.1:80", metadata=metadata)
    for reply in (HeadersReply(Side.REQUEST, edits), BodyReply(Side.REQUEST, None, edits)):
        told = answered(reply).dynamic_metadata

        assert {namespace: dict(told[namespace]) for namespace in told} == {
            "envoy.lb": {"x-gateway-destination-endpoint": "10.0.0.1:80", "tier": "gold"},
            "billing": {"units": 0.0},
        }


def test_the_last_piece_of_an_answer_may_tell_something() -> None:
    metadata = {"envoy.lb": {"cost": 12.5}}
    for reply in (
        Chunk(Side.RESPONSE, b"x", True, metadata),
        BodyReply(Side.RESPONSE, metadata=metadata),
        TrailersReply(Side.RESPONSE, metadata),
    ):
        message = answered(reply)

        assert dict(message.dynamic_metadata["envoy.lb"]) == {"cost": 12.5}
        assert message.WhichOneof("response") is not None


def test_what_stands_beside_is_told_right_for_however_many_routes() -> None:
    def asked(number: int) -> bytes:
        message = envoy.ProcessingRequest()
        message.request_headers.headers.headers.add(key=":path", raw_value=b"/")
        message.attributes["envoy.filters.http.ext_proc"].fields["xds.route_name"].string_value = f"route-{number}"
        return message.SerializeToString()

    for _ in range(2):
        told = [decode(asked(number)).attributes for number in range(3000)]

        assert told == [{"xds.route_name": f"route-{number}"} for number in range(3000)]


def test_headers_that_are_alike_are_told_right_however_many_there_are() -> None:
    for _ in range(2):
        for number in range(2000):
            message = envoy.ProcessingRequest()
            message.request_headers.headers.headers.add(key="User-Agent", raw_value=b"agent %d" % number)

            assert decode(message.SerializeToString()).headers == {"user-agent": f"agent {number}"}
