"""What becomes of a request's body: reasoning by family, system prompts, parameters; the client's own values win."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from epp.domain import Edit as BodyEdit
from epp.protocol.splice import edited
from semantic.asked import Asked, Kind
from semantic.edits import Edit
from semantic.plan import Card, Family, ModelRef, Plugins, RequestParams, SystemPrompt
from semantic.reasoning import lowered, reasoning_edits
from semantic.requests import plugin_edits

QWEN = Card("q", family=Family("chat_template_kwargs", "enable_thinking"))
GPT = Card("g", family=Family("reasoning_effort", "reasoning_effort"))
DEEP = Card("d", family=Family("reasoning_effort", "a.b.c"))
TOP = Card("t", family=Family("top_level_reasoning_effort", "reasoning_effort"))
NESTED = Card("n", family=Family("reasoning_effort", "reasoning.effort"))
USER = {"role": "user", "content": "hi"}
OWN = {"role": "system", "content": "Be kind."}


def applied(body: dict[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    changed = edited(json.dumps(body).encode(), [BodyEdit(e.mode, e.path, e.value) for e in edits])
    out: dict[str, Any] = json.loads(changed)
    return out


def reasoned(body: dict[str, Any], card: Card, on: bool | None = True, effort: str | None = None) -> dict[str, Any]:
    ref = ModelRef("m", use_reasoning=on, effort=effort)
    whole = {"messages": [USER], **body}
    out = applied(whole, reasoning_edits(Asked(body=whole), ref, card, "medium"))
    del out["messages"]
    return out


@pytest.mark.parametrize(
    ("body", "card", "on", "expected"),
    [
        ({}, QWEN, True, {"chat_template_kwargs": {"enable_thinking": True}}),
        ({}, QWEN, False, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({}, QWEN, None, {}),
        ({}, Card("plain"), True, {}),
        (
            {"chat_template_kwargs": {"x": 1}},
            QWEN,
            True,
            {"chat_template_kwargs": {"x": 1, "enable_thinking": True}},
        ),
        (
            {"chat_template_kwargs": {"enable_thinking": False}},
            QWEN,
            True,
            {"chat_template_kwargs": {"enable_thinking": False}},
        ),
        ({"chat_template_kwargs": None}, QWEN, True, {"chat_template_kwargs": {"enable_thinking": True}}),
        (
            {"reasoning_effort": "none"},
            QWEN,
            True,
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": False}},
        ),
        ({}, GPT, True, {"chat_template_kwargs": {"reasoning_effort": "medium"}}),
        ({}, GPT, False, {"chat_template_kwargs": {"reasoning_effort": "low"}}),
        ({"reasoning_effort": "high"}, GPT, False, {"chat_template_kwargs": {"reasoning_effort": "high"}}),
        ({}, TOP, True, {"reasoning_effort": "medium"}),
        ({"reasoning_effort": "high"}, TOP, True, {"reasoning_effort": "high"}),
        ({}, NESTED, True, {"reasoning": {"effort": "medium"}}),
        ({"reasoning": {"effort": "low"}}, NESTED, True, {"reasoning": {"effort": "low"}}),
        ({"reasoning": {"summary": "auto"}}, NESTED, True, {"reasoning": {"summary": "auto", "effort": "medium"}}),
        ({"reasoning": "effort"}, NESTED, True, {"reasoning": {"effort": "medium"}}),
        ({}, DEEP, True, {"a": {"b": {"c": "medium"}}}),
        ({"a": {"x": 1}}, DEEP, True, {"a": {"x": 1, "b": {"c": "medium"}}}),
        ({"a": {"x": 1, "b": {"y": 2}}}, DEEP, True, {"a": {"x": 1, "b": {"y": 2, "c": "medium"}}}),
    ],
)
def test_reasoning_by_family(body: dict[str, Any], card: Card, on: bool | None, expected: dict[str, Any]) -> None:
    assert reasoned(body, card, on) == expected


def test_the_effort_of_the_decision_comes_before_the_default() -> None:
    assert reasoned({}, TOP, True, "high") == {"reasoning_effort": "high"}


@pytest.mark.parametrize("kind", ["completions", "messages", "responses", "other"])
def test_only_chats_have_a_template_to_tell(kind: Kind) -> None:
    assert reasoning_edits(Asked(kind=kind), ModelRef("m", use_reasoning=True), QWEN, "high") == ()


@pytest.mark.parametrize(
    ("ref", "card", "expected"),
    [
        (ModelRef("m", use_reasoning=True), QWEN, ModelRef("m", use_reasoning=False)),
        (ModelRef("m", use_reasoning=True, effort="high"), GPT, ModelRef("m", use_reasoning=True, effort="low")),
        (ModelRef("m", use_reasoning=True, effort="low"), GPT, None),
        (ModelRef("m", use_reasoning=True), GPT, ModelRef("m", use_reasoning=True, effort="low")),
        (ModelRef("m", use_reasoning=False), QWEN, None),
        (ModelRef("m", use_reasoning=True), Card("plain"), None),
    ],
)
def test_less_effort_where_there_is_some_to_take_away(ref: ModelRef, card: Card, expected: ModelRef | None) -> None:
    assert lowered(ref, card, "medium") == expected


def prompted(prompt: SystemPrompt, kind: Kind = "chat", **body: Any) -> dict[str, Any]:
    return applied(body, plugin_edits(Asked(kind=kind, body=body), Plugins(prompt)))


INSERT, REPLACE = SystemPrompt("You are a chemist.", "insert"), SystemPrompt("You are a chemist.", "replace")
OURS = {"role": "system", "content": "You are a chemist."}


def test_a_system_prompt_is_put_in_where_there_is_none() -> None:
    for prompt in (INSERT, REPLACE):
        assert prompted(prompt, messages=[USER])["messages"] == [OURS, USER]


def test_the_clients_own_stays_after_ours_unless_it_is_to_be_replaced() -> None:
    joined = {"role": "system", "content": "You are a chemist.\n\nBe kind."}

    assert prompted(INSERT, messages=[OWN, USER])["messages"] == [joined, USER]
    assert prompted(REPLACE, messages=[OWN, USER])["messages"] == [OURS, USER]


def test_further_system_messages_go_only_where_they_are_to_be_replaced() -> None:
    messages = [OWN, USER, OWN, {"role": "developer", "content": "x"}, USER]

    assert prompted(REPLACE, messages=messages)["messages"] == [OURS, USER, USER]
    assert prompted(INSERT, messages=messages)["messages"][1:] == messages[1:]


def test_a_system_message_in_parts_gets_one_more() -> None:
    messages = [{"role": "system", "content": [{"type": "text", "text": "Be kind."}]}, USER]
    (first, _) = prompted(INSERT, messages=messages)["messages"]

    assert [part["text"] for part in first["content"]] == ["You are a chemist.", "Be kind."]


@pytest.mark.parametrize(("kind", "member"), [("messages", "system"), ("responses", "instructions")])
def test_other_apis_have_a_place_of_their_own(kind: Kind, member: str) -> None:
    assert prompted(INSERT, kind, x=1)[member] == "You are a chemist."
    assert prompted(INSERT, kind, **{member: "Be kind."})[member] == "You are a chemist.\n\nBe kind."
    assert prompted(REPLACE, kind, **{member: "Be kind."})[member] == "You are a chemist."


def test_a_bare_prompt_has_none() -> None:
    assert plugin_edits(Asked(kind="completions", body={"prompt": "x"}), Plugins(INSERT)) == ()


def limited(body: dict[str, Any], params: RequestParams) -> dict[str, Any]:
    return applied(body, plugin_edits(Asked(body=body), Plugins(params=params)))


def test_parameters_are_taken_out_and_held_within_bounds() -> None:
    params = RequestParams(frozenset({"logprobs"}), max_tokens=100, max_n=2)
    body = {"logprobs": True, "n": 9, "max_tokens": 5000, "max_completion_tokens": 50, "temperature": 1}

    assert limited(body, params) == {"n": 2, "max_tokens": 100, "max_completion_tokens": 50, "temperature": 1}


def test_what_is_taken_out_is_not_held_within_bounds_as_well() -> None:
    params = RequestParams(frozenset({"max_tokens", "n"}), max_tokens=100, max_n=2)

    assert limited({"max_tokens": 5000, "n": 9, "best_of": 9}, params) == {"best_of": 2}


@pytest.mark.parametrize("messages", [None, "hi", {"role": "system"}])
def test_messages_that_are_none_are_left_to_the_engine_to_refuse(messages: object) -> None:
    assert plugin_edits(Asked(body={"messages": messages}), Plugins(INSERT)) == ()


def test_a_message_that_is_none_is_passed_over() -> None:
    assert prompted(INSERT, messages=["system", OWN, USER])["messages"] == [
        "system",
        {"role": "system", "content": "You are a chemist.\n\nBe kind."},
        USER,
    ]


def test_unknown_parameters_go_only_where_it_is_asked_for() -> None:
    body = {"model": "m", "messages": [], "sql": "x", "top_k": 3}

    assert limited(body, RequestParams()) == body
    assert limited(body, RequestParams(strip_unknown=True)) == {"model": "m", "messages": [], "top_k": 3}
