"""Reading bodies and splicing them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.domain import Reason, Refused, Request
from epp.protocol.openai import models_page, read, with_model
from epp.protocol.paths import APIS
from tests.make import POST, chat


def reading(body: bytes, path: str = "/v1/chat/completions", method: str = "POST") -> Request:
    return read("made-up", {":method": method, ":path": path}, body)


def test_a_chat_body_gives_model_prompt_and_stream() -> None:
    request = reading(chat("auto", "hi", stream=True))

    assert (request.model, request.stream) == ("auto", True)
    assert json.loads(request.prompt) == [{"role": "user", "content": "hi"}]
    assert request.prompt_tokens == len(request.prompt) // 4


def test_the_clients_request_id_is_kept_and_a_missing_one_is_made() -> None:
    assert read("made-up", POST, chat()).id == "r-1"
    assert read("made-up", {}, b'{"model": "m", "prompt": "x"}').id == "made-up"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"auto","messages":[{"role":"user","content":"<&>"}],"seed":123456789012345678901234567890}',
        b'{ "messages" : ["x"] ,\n\t"temperature": 1e400, "model"  :  "auto"  }',
        '{"é":"\\u00e9\\ud83d\\ude00 ü","model":"auto","messages":[1],"z":{"model":"nested"}}'.encode(),
        b'{"metadata":{"model":"auto"},"model":"\\u0061uto","messages":[[]],"model_x":"auto"}',
    ],
)
def test_an_edit_changes_the_model_value_and_no_other_byte(body: bytes) -> None:
    request = reading(body)
    assert request.model_span is not None
    start, stop = request.model_span
    edited = with_model(request, 'phi4 "mini"')

    assert json.loads(body[start:stop]) == "auto" == request.model
    assert edited == body[:start] + b'"phi4 \\"mini\\""' + body[stop:]
    assert json.loads(edited)["model"] == 'phi4 "mini"'


def test_of_a_repeated_model_key_the_last_counts_as_for_the_server() -> None:
    body = b'{"model":"first","messages":["x"],"model":"auto"}'
    request = reading(body)

    assert request.model == json.loads(body)["model"] == "auto"
    assert json.loads(with_model(request, "m"))["model"] == "m"


@given(st.dictionaries(st.text(max_size=6), st.recursive(st.text(max_size=8) | st.integers(), st.lists), max_size=6))
def test_an_edit_of_any_object_is_an_edit_of_its_model(other: dict[str, object]) -> None:
    value = {**other, "model": "auto", "messages": ["x"]}
    for body in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False, indent=1).encode()):
        edited = with_model(reading(body), "m")

        assert json.loads(edited) == {**value, "model": "m"}
        assert len(edited) == len(body) - len("auto") + len("m")


@pytest.mark.parametrize(
    ("path", "body", "reason", "message"),
    [
        ("/v1/chat/completions", b"no json", Reason.BAD_REQUEST, "error unmarshaling request body"),
        ("/v1/chat/completions", b"", Reason.BAD_REQUEST, "error unmarshaling request body"),
        ("/v1/chat/completions", b"[1]", Reason.BAD_REQUEST, "error unmarshaling request body"),
        ("/v1/chat/completions", b'{"model": "m"', Reason.BAD_REQUEST, "error unmarshaling request body"),
        ("/v1/chat/completions", b'{"x":' + b"[" * 100_000, Reason.BAD_REQUEST, "nested too deeply"),
        ("/v1/chat/completions", b'{"model": 7, "messages": ["x"]}', Reason.BAD_REQUEST, "must be a string"),
        ("/v1/chat/completions", b'{"model": "m"}', Reason.BAD_REQUEST, "must have valid messages field"),
        ("/v1/chat/completions", b'{"model": "m", "messages": []}', Reason.BAD_REQUEST, "valid messages field"),
        ("/v1/chat/completions", b'{"model": "m", "messages": "x"}', Reason.BAD_REQUEST, "valid messages field"),
        ("/v1/completions", b'{"model": "m"}', Reason.BAD_REQUEST, "must have prompt field"),
        ("/v1/embeddings?x=1", b'{"model": "m"}', Reason.BAD_REQUEST, "must have input field"),
        ("/x/v1/responses/", b'{"model": "m"}', Reason.BAD_REQUEST, "must have input field"),
        ("/v1/responses", b'{"model": "m", "previous_response_id": null}', Reason.BAD_REQUEST, "must have input field"),
        ("/v1/conversations", b'{"items": []}', Reason.BAD_REQUEST, "must have items field"),
        ("/v1/images/generations", b'{"model": "m"}', Reason.BAD_REQUEST, "must have prompt field"),
        ("/v1/chat/completions/render", b'{"model": "m"}', Reason.BAD_REQUEST, "must have valid messages field"),
        ("/v1/completions/render", b'{"model": "m", "prompt": null}', Reason.BAD_REQUEST, "must have prompt field"),
        ("/v1/messages", b'{"model": "m", "messages": [ ]}', Reason.BAD_REQUEST, "must have valid messages field"),
        ("/v1/messages/count_tokens", b'{"model": "m"}', Reason.BAD_REQUEST, "must have valid messages field"),
        ("/inference/v1/generate", b'{"token_ids": "x"}', Reason.BAD_REQUEST, "must have token_ids field"),
        ("/v1/messages", b'{"messages": ["x"]}', Reason.MODEL_MISSING, "model not found in request body"),
        ("/v1/completions", b'{"prompt": "x", "model": null}', Reason.MODEL_MISSING, "model not found"),
        ("/v1/completions", b'{"prompt": "x", "model": "\xff"}', Reason.BAD_REQUEST, "must be a string"),
        ("/v1/completions", b'{"prompt": "hello"}', Reason.MODEL_MISSING, "model not found in request body"),
        ("/v1/completions", b'{"prompt": "x", "model": ""}', Reason.MODEL_MISSING, "model not found in request body"),
    ],
)
def test_what_a_known_path_cannot_use_is_refused(path: str, body: bytes, reason: Reason, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        reading(body, path)
    assert refused.value.reason is reason


@pytest.mark.parametrize("body", [b"--multipart--", b"\x00\xff", b"[1, 2]", b'{"model":7}', b'{"model":"\xff"}', b"{}"])
def test_what_is_not_understood_on_another_path_passes_as_it_is(body: bytes) -> None:
    request = reading(body, "/v1/audio/transcriptions")

    assert (request.model, request.model_span, request.body) == (None, None, body)


@pytest.mark.parametrize("body", [b"--multipart--", b'{"model":"m"}'])
def test_another_path_may_be_refused(body: bytes) -> None:  # row 57
    with pytest.raises(Refused, match="no parser registered matching path suffix for: /v1/audio") as refused:
        read("made-up", {":path": "/v1/audio?x=1"}, body, unparsed="refuse")
    assert refused.value.reason is Reason.BAD_REQUEST


def test_without_parsers_every_body_passes() -> None:  # row 4
    request = read("made-up", {}, b"passthrough-parser", parsers=())

    assert (request.model, request.model_span, request.body) == (None, None, b"passthrough-parser")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-encoding": "gzip"},
        {"content-encoding": " BR", "content-type": "application/json"},
        {"content-encoding": "zstd"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/x-protobuf"},
    ],
)
def test_a_body_that_is_not_plain_json_passes_or_is_refused(headers: dict[str, str]) -> None:
    request = read("made-up", headers, b"\x1f\x8b\x08")

    assert (request.model, request.model_span, request.body) == (None, None, b"\x1f\x8b\x08")
    with pytest.raises(Refused):
        read("made-up", headers, b"\x1f\x8b\x08", unparsed="refuse")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-www-form-urlencoded"},  # what curl says of every body
        {"content-type": "application/json; charset=utf-8", "content-encoding": "identity"},
        {"content-type": "application/vnd.x+JSON"},
    ],
)
def test_json_is_read_whatever_its_type_is_said_to_be(headers: dict[str, str]) -> None:
    assert read("made-up", headers, b'{"model":"m","prompt":"x"}', unparsed="refuse").model == "m"


@pytest.mark.parametrize(
    ("path", "body", "prompt"),
    [
        ("/v1/chat/completions", b'{"messages":[1], "tools":[2], "input":3}', b"[2][1]"),
        ("/v1/chat/completions", b'{"messages":[1],"cache_salt":"s"}', b'"s"[1]'),
        ("/v1/chat/completions/render", b'{"messages":[1]}', b"[1]"),
        ("/v1/completions", b'{"prompt":["a", "b"]}', b'["a", "b"]'),
        ("/v1/completions", b'{"prompt":[[1,2],[3]]}', b"[[1,2],[3]]"),
        ("/v1/completions", b'{"prompt":""}', b'""'),
        ("/v1/embeddings", b'{"input":"a"}', b'"a"'),
        ("/v1/embeddings", b'{"messages":[1]}', b"[1]"),
        ("/v1/responses", b'{"input":"a","tools":[2],"instructions":"b"}', b'"b"[2]"a"'),
        ("/v1/responses", b'{"previous_response_id":"r-1"}', b""),
        ("/v1/conversations", b'{"items":[1]}', b"[1]"),
        ("/v1/images/generations", b'{"prompt":"a cat"}', b'"a cat"'),
        ("/v1/messages", b'{"messages":[1],"tools":[2],"system":"s"}', b'"s"[2][1]'),
        ("/v1/messages/count_tokens", b'{"messages":[1],"system":[{"text":"s"}]}', b'[{"text":"s"}][1]'),
        ("/inference/v1/generate", b'{"token_ids":[1, 2,3]}', b"[1, 2,3]"),
        ("/v1/rerank", b'{"query":"x"}', b""),
    ],
)
def test_the_prompt_is_what_the_engine_prefills(path: str, body: bytes, prompt: bytes) -> None:
    request = reading(b'{"model":"m",' + body[1:], path)

    assert (request.model, request.prompt) == ("m", prompt)


def test_token_ids_are_counted() -> None:
    assert reading(b'{"model":"m","prompt":[[1,2],[3]]}', "/v1/completions").prompt_tokens == 3
    assert reading(b'{"token_ids":[1, 2, 3, 4]}', "/inference/v1/generate").prompt_tokens == 4


@pytest.mark.parametrize(
    ("body", "expected"),
    [  # row 60
        (b'{"prompt":"x"}', b'{"model":"m","prompt":"x"}'),
        (b' \n{ "prompt" : "x" }\n', b' \n{"model":"m", "prompt" : "x" }\n'),
        (b'{"prompt":"x","model":null}', b'{"prompt":"x","model":"m"}'),
        (b'{"prompt":"x","model": ""}', b'{"prompt":"x","model": "m"}'),
        (b'{"prompt":"x","nested":{"model":"n"}}', b'{"model":"m","prompt":"x","nested":{"model":"n"}}'),
    ],
)
def test_a_rewrite_may_name_the_model_that_the_body_does_not(body: bytes, expected: bytes) -> None:
    request = read("made-up", {}, body, model_required=False)

    assert request.model is None
    assert with_model(request, "m") == expected


@pytest.mark.parametrize("body", [b"{}", b" { \n}"])
def test_a_model_put_into_an_empty_object_needs_no_comma(body: bytes) -> None:
    start = body.index(b"{") + 1

    assert json.loads(with_model(Request("r", body=body, model_span=(start, start)), "m")) == {"model": "m"}


@pytest.mark.parametrize("path", ["/v1/conversations", "/inference/v1/generate"])
def test_where_the_api_names_no_model_none_is_required(path: str) -> None:
    assert reading(b'{"items":[1],"token_ids":[1]}', path).model is None


@given(
    st.sampled_from([*(api.suffix for api in APIS), "/x"]),
    st.binary() | st.binary().map(lambda b: b'{"model":"' + b + b'","prompt":"x"}'),
    st.sampled_from([{}, {"content-type": "text/plain"}, {"content-encoding": "gzip"}]),
)
def test_any_bytes_are_read_or_refused(path: str, body: bytes, headers: dict[str, str]) -> None:
    try:
        request = read("made-up", {":path": path, **headers}, body, model_required=False)
    except Refused:
        return
    assert request.body == body


MEMBERS = ["model", "messages", "prompt", "input", "items", "token_ids", "system", "tools", "previous_response_id"]
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(0, 9), max_size=3)


@given(st.sampled_from([*(api.suffix for api in APIS), "/x"]), st.dictionaries(st.sampled_from(MEMBERS), VALUES))
def test_any_object_is_read_or_refused_and_takes_a_model(path: str, value: dict[str, object]) -> None:
    body = json.dumps(value).encode()
    try:
        request = read("made-up", {":path": path}, body, model_required=False)
    except Refused:
        return
    if request.model_span is not None:
        assert json.loads(with_model(request, "m")) == {**value, "model": "m"}


@pytest.mark.parametrize("headers", [{}, {"x-request-id": "r"}])
def test_an_empty_request_of_unknown_method_is_one_without_a_body(headers: dict[str, str]) -> None:
    assert read("made-up", headers, b"").model is None


def test_a_get_has_no_model() -> None:
    assert reading(b"", "/v1/models?x", "GET").model is None


def test_the_models_page_is_openais() -> None:
    page = json.loads(models_page(["auto", "tuned"], {"tuned": "base"}))

    assert page["object"] == "list"
    assert [(m["id"], m["object"], m["root"]) for m in page["data"]] == [
        ("auto", "model", "auto"),
        ("tuned", "model", "base"),
    ]
