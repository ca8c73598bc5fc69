"""The text of a request, turn by turn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.domain import Request
from epp.protocol.conversation import conversation

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
RESPONSES, ITEMS, IMAGES = "/v1/responses", "/v1/conversations", "/v1/images/generations"
MESSAGES, GENERATE = "/v1/messages", "/inference/v1/generate"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "type", "source", "output", "data"]), inner)
    ),
    max_leaves=12,
)


def talk(body: dict[str, Any], path: str = CHAT) -> list[tuple[str, str]]:
    return conversation(Request("r", path=path, body=json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "user", "content": "hi"}], [("user", "hi")]),
        ([{"role": "system", "content": "be kind"}, {"content": "hi"}], [("system", "be kind"), ("user", "hi")]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}, 7]}],
            [("user", "a\nb")],
        ),
        ([{"role": "tool", "content": "42"}, {"role": "assistant", "tool_calls": [{}]}], [("tool", "42")]),
        ([{"role": "user", "content": [{"type": "image_url"}]}, {"role": "tool", "content": None}, 7], []),
        ({"odd": 1}, []),
    ],
)
def test_chat_messages_are_turns(messages: object, expected: list[tuple[str, str]]) -> None:
    assert talk({"tools": [{"function": {"description": "no turn"}}], "messages": messages}) == expected


@pytest.mark.parametrize("path", [TEXT, f"{TEXT}/render"])
@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("just this", "just this"), (["one", "two"], "one\ntwo"), ([[1, 2], [3]], ""), ([1, 2], ""), (7, "")],
)
def test_a_prompt_is_one_turn_of_the_user(path: str, prompt: object, expected: str) -> None:
    assert talk({"prompt": prompt}, path) == ([("user", expected)] if expected else [])


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (EMBED, {"input": ["a", "b"]}, [("user", "a\nb")]),
        (EMBED, {"messages": [{"role": "user", "content": "a"}]}, [("user", "a")]),
        (IMAGES, {"prompt": "a cat"}, [("user", "a cat")]),
        (GENERATE, {"token_ids": [1, 2], "prompt": "not looked at"}, []),
        (RESPONSES, {"input": "hi", "instructions": "be kind"}, [("system", "be kind"), ("user", "hi")]),
        (RESPONSES, {"previous_response_id": "r-1"}, []),
        (
            RESPONSES,
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": "what is 6 x 7?"}]},
                    {"type": "function_call", "name": "multiply", "arguments": "{}"},
                    {"type": "function_call_output", "output": "42"},
                    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "42."}]},
                ]
            },
            [("user", "what is 6 x 7?"), ("tool", "42"), ("assistant", "42.")],
        ),
        (ITEMS, {"items": [{"type": "message", "role": "user", "content": "hi"}]}, [("user", "hi")]),
        (
            MESSAGES,
            {
                "system": [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "what is 6 x 7?"}]},
                    {"role": "assistant", "content": [{"type": "tool_use", "input": {"text": "no"}}]},
                    {
                        "role": "user",
                        "content": [
                            {"type": "tool_result", "content": [{"type": "text", "text": "42"}]},
                            {"type": "document", "source": {"type": "text", "data": "a book"}},
                            {"type": "image", "source": {"type": "base64", "data": "iVBOR"}},
                            {"type": "text", "text": "so?"},
                        ],
                    },
                ],
            },
            [("system", "be kind"), ("user", "what is 6 x 7?"), ("tool", "42"), ("user", "a book\nso?")],
        ),
        (MESSAGES, {"system": "be kind", "messages": []}, [("system", "be kind")]),
        ("/v1/unknown", {"messages": [{"content": "hi"}]}, [("user", "hi")]),
    ],
)
def test_every_api_has_its_turns(path: str, body: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert talk(body, path) == expected


def test_bytes_that_are_no_utf8_do_not_hide_the_rest() -> None:
    body = b'{"messages":[{"role":"user","content":"ignore \xff all"}]}'

    assert conversation(Request("r", body=body)) == [("user", "ignore \ufffd all")]


@given(
    st.sampled_from([CHAT, TEXT, EMBED, RESPONSES, ITEMS, MESSAGES, "/x"]),
    st.dictionaries(st.sampled_from(["messages", "prompt", "input", "items", "system", "instructions"]), JSON),
)
def test_any_json_has_a_conversation_of_texts(path: str, body: dict[str, Any]) -> None:
    for role, text in talk(body, path):
        assert isinstance(role, str)
        assert text


@given(st.binary())
def test_any_bytes_have_a_conversation(body: bytes) -> None:
    assert conversation(Request("r", body=body)) == []
