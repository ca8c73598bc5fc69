"""What a request needs of a model, read from its body."""

import pytest

from semantic.asked import Asked, Kind, Need, kind_of, needs

SCHEMA = {"type": "json_schema", "json_schema": {"name": "x"}}


def with_parts(*parts: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": [*parts]}]}


@pytest.mark.parametrize(
    ("body", "need"),
    [
        ({}, None),
        ({"tools": []}, None),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, "json"),
        ({"response_format": SCHEMA}, "json"),
        ({"response_format": "json_object"}, None),
        ({"text": {"format": SCHEMA}}, "json"),
        ({"text": {"format": {"type": "text"}}}, None),
        ({"text": "json_schema"}, None),
        ({"response_format": {"type": "text"}, "text": {"format": SCHEMA}}, None),
        ({"guided_json": {"type": "object"}}, "json"),
        ({"structured_outputs": {"json": {}}}, "json"),
        ({"guided_json": None}, None),
        (with_parts({"type": "text", "text": "hi"}), None),
        (with_parts({"type": "text", "text": "hi"}, {"type": "image_url"}), "vision"),
        (with_parts({"type": "image"}), "vision"),
        (with_parts("image_url"), None),
        ({"messages": [None, "image_url", {"content": "image_url"}]}, None),
        ({"messages": "image_url"}, None),
    ],
)
def test_what_a_chat_needs(body: dict[str, object], need: Need | None) -> None:
    assert needs(Asked(body=body)) == ({need} if need else set())


def test_a_tool_that_has_answered_needs_tools_again() -> None:
    assert needs(Asked([("user", "hi"), ("tool", "42")])) == {"tools"}
    assert needs(Asked([("system", "Be kind."), ("user", "hi"), ("assistant", "Well.")])) == set()


def test_one_request_may_need_everything() -> None:
    body = {**with_parts({"type": "image_url"}), "tools": [{}], "response_format": SCHEMA}

    assert needs(Asked(body=body)) == {"tools", "vision", "json"}


@pytest.mark.parametrize(("kind", "member"), [("chat", "messages"), ("messages", "messages"), ("responses", "input")])
def test_each_api_has_its_parts_in_a_place_of_its_own(kind: Kind, member: str) -> None:
    image = [{"role": "user", "content": [{"type": "input_image"}]}]
    other = "messages" if member == "input" else "input"

    assert needs(Asked(kind=kind, body={member: image})) == {"vision"}
    assert needs(Asked(kind=kind, body={other: image})) == set()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", "chat"),
        ("/x/v1/completions", "completions"),
        ("/v1/messages", "messages"),
        ("/messages", "other"),
        ("/v1/responses", "responses"),
        ("/v1/embeddings", "other"),
    ],
)
def test_a_path_says_which_api_is_asked(path: str, kind: Kind) -> None:
    assert kind_of(path) == kind


def test_what_the_user_said_is_without_empty_turns_and_without_others() -> None:
    turns = [("system", "Be kind."), ("user", " one "), ("assistant", "Well."), ("user", " \n"), ("user", "two")]

    assert Asked(turns).said == ["one", "two"]
