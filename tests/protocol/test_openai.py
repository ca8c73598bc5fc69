"""Reading bodies and splicing them."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.domain import Reason, Refused, Request
from epp.protocol.openai import conversation, models_page, read, with_model
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
        ("/v1/completions", b'{"prompt": "hello"}', Reason.MODEL_MISSING, "model not found in request body"),
        ("/v1/completions", b'{"prompt": "x", "model": ""}', Reason.MODEL_MISSING, "model not found in request body"),
    ],
)
def test_what_a_known_path_cannot_use_is_refused(path: str, body: bytes, reason: Reason, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        reading(body, path)
    assert refused.value.reason is reason


@pytest.mark.parametrize("body", [b"--multipart--", b"\x00\xff", b"[1, 2]"])
def test_what_is_not_understood_on_another_path_passes_as_it_is(body: bytes) -> None:
    request = reading(body, "/v1/audio/transcriptions")

    assert (request.model, request.body) == (None, body)


def test_a_get_has_no_model() -> None:
    assert reading(b"", "/v1/models?x", "GET").model is None


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([{"role": "user", "content": "hi"}], [("user", "hi")]),
        ([{"role": "system", "content": "be kind"}, {"content": "hi"}], [("system", "be kind"), ("user", "hi")]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}, 7]}],
            [("user", "a\nb")],
        ),
        ([{"role": "user", "content": [{"type": "image_url"}]}, {"role": "tool", "content": None}, 7], []),
        ("just this", [("user", "just this")]),
        (["one", "two"], [("user", "one\ntwo")]),
        ([[1, 2], [3]], []),
        ({"odd": 1}, []),
    ],
)
def test_the_conversation_is_the_text_of_the_messages(prompt: object, expected: list[tuple[str, str]]) -> None:
    assert conversation(Request("r", prompt=msgspec.json.encode(prompt))) == expected


def test_the_models_page_is_openais() -> None:
    page = json.loads(models_page(["auto", "tuned"], {"tuned": "base"}))

    assert page["object"] == "list"
    assert [(m["id"], m["object"], m["root"]) for m in page["data"]] == [
        ("auto", "model", "auto"),
        ("tuned", "model", "base"),
    ]
