"""What a request asks of a model, seen in the one decode of its body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from epp.domain import NO_NEEDS, Needs, Request
from epp.protocol.needs import media
from epp.protocol.openai import read
from tests.make import POST, chat

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
QUOTED = 'Write {"type": "image_url"} and {"type": "json_object"} please'


def asked(body: bytes, path: str = "/v1/chat/completions", **headers: str) -> Request:
    return read("r", {**POST, ":path": path, **headers}, body)


def message(*parts: dict[str, Any]) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": list(parts)}]}).encode()


@pytest.mark.parametrize(
    ("more", "needs"),
    [
        ({}, NO_NEEDS),
        ({"max_tokens": 100}, Needs(100)),
        ({"max_tokens": 100, "max_completion_tokens": 50}, Needs(50)),
        ({"tools": [TOOL]}, Needs(tools=True)),
        ({"tools": []}, NO_NEEDS),
        ({"tools": None}, NO_NEEDS),
        ({"tools": [TOOL], "tool_choice": "none"}, NO_NEEDS),
        ({"functions": [{"name": "look"}]}, Needs(tools=True)),
        ({"response_format": {"type": "json_object"}}, Needs(json_mode=True)),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, Needs(json_mode=True)),
        ({"response_format": {"type": "text"}}, NO_NEEDS),
        ({"max_tokens": "many", "tools": "all", "response_format": 7}, Needs(tools=True)),
        ({"max_tokens": -1}, NO_NEEDS),
        ({"max_tokens": 10**30}, NO_NEEDS),
        ({"max_tokens": 1.5}, NO_NEEDS),
    ],
)
def test_output_limit_tools_and_json_mode_are_seen(more: dict[str, Any], needs: Needs) -> None:
    assert asked(chat(**more)).needs == needs


def test_the_responses_api_has_names_of_its_own() -> None:
    body = {"model": "m", "input": "hi", "max_output_tokens": 9, "text": {"format": {"type": "json_schema"}}}

    assert asked(json.dumps(body).encode(), "/v1/responses").needs == Needs(9, json_mode=True)


@pytest.mark.parametrize(
    ("parts", "seen"),
    [
        ([{"type": "text", "text": "hi"}], (False, False)),
        ([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}], (True, False)),
        ([{"type": "input_image", "image_url": "https://x/y.png"}], (True, False)),
        ([{"type": "image", "source": {"type": "base64", "data": "aaaa"}}], (True, False)),
        ([{"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}], (True, False)),
        ([{"type": "input_audio", "input_audio": {"data": "aaaa", "format": "wav"}}], (False, True)),
        ([{"type": "input_audio"}, {"type": "image_url"}], (True, True)),
        ([{"type": "text", "text": QUOTED}], (False, False)),
    ],
)
def test_pictures_and_sound_are_seen_and_words_about_them_are_not(
    parts: list[dict[str, Any]], seen: tuple[bool, bool]
) -> None:
    assert media(asked(message(*parts))) == seen


def test_a_text_that_speaks_of_json_is_no_json_mode() -> None:
    assert asked(chat(text=QUOTED)).needs == NO_NEEDS


def test_the_session_and_the_wish_never_to_degrade_come_from_headers() -> None:
    plain = asked(chat())
    named = asked(chat(), **{"session_id": "older", "x-session-id": "s-1", "x-onehop-never-degrade": "True"})

    assert (plain.session, plain.never_degrade) == (None, False)
    assert (named.session, named.never_degrade) == ("s-1", True)
