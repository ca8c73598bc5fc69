"""Which requests belong to one conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from epp.domain import Request
from epp.protocol.openai import read
from epp.protocol.session import session
from tests.make import POST

SYSTEM = {"role": "system", "content": "You are canary-4711."}
FIRST = {"role": "user", "content": "What is a canary-4711?"}
THEN = [{"role": "assistant", "content": "A bird."}, {"role": "user", "content": "Does it sing?"}]


def asked(path: str = "/v1/chat/completions", tenant: str = "t", session_id: str = "", **body: Any) -> Request:
    headers = {**POST, ":path": path, **({"x-session-id": session_id} if session_id else {})}
    request = read("r", headers, json.dumps({"model": "auto", **body}).encode())
    request.tenant = tenant
    return request


def test_a_later_turn_belongs_to_the_first() -> None:
    first = session(asked(messages=[SYSTEM, FIRST]))

    assert first is not None
    assert session(asked(messages=[SYSTEM, FIRST, *THEN])) == first
    assert b"canary" not in repr(first).encode()


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [SYSTEM, {"role": "user", "content": "What else?"}]},
        {"messages": [FIRST]},
        {"messages": [SYSTEM, FIRST], "tenant": "u"},
        {"messages": [SYSTEM, FIRST], "session_id": "s-1"},
    ],
)
def test_another_beginning_tenant_or_name_is_another_conversation(other: dict[str, Any]) -> None:
    assert session(asked(**other)) != session(asked(messages=[SYSTEM, FIRST]))


def test_a_name_counts_for_more_than_what_was_said() -> None:
    one = session(asked(messages=[FIRST], session_id="s-1"))

    assert session(asked(messages=[{"role": "user", "content": "?"}], session_id="s-1")) == one
    assert session(asked(messages=[FIRST], session_id="s-2")) != one


def test_anthropics_and_responses_conversations_are_known_too() -> None:
    messages = {"path": "/v1/messages", "system": "Be kind.", "max_tokens": 5}
    responses = {"path": "/v1/responses", "instructions": "Be kind."}

    assert session(asked(**messages, messages=[FIRST])) == session(asked(**messages, messages=[FIRST, *THEN]))
    assert session(asked(**responses, input=[FIRST])) == session(asked(**responses, input=[FIRST, *THEN]))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "Once upon a time"}),
        ("/v1/responses", {"input": "Once upon a time"}),
        ("/v1/chat/completions", {"messages": [SYSTEM]}),
        ("/v1/chat/completions", {"messages": [["odd"]]}),
    ],
)
def test_what_is_no_conversation_has_no_session(path: str, body: dict[str, Any]) -> None:
    assert session(asked(path, **body)) is None
