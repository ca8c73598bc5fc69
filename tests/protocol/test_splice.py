"""Edits of a body by splices: the result is right, and what was not named keeps its bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.domain import Edit
from epp.protocol.splice import edited

BODY = (
    b'{ "model" : "auto",\n "n":\t1, "big": 123456789012345678901234567890, '
    b'"messages": [ {"role":"user", "content":"h\\u00e9"} ] }'
)


def after(body: bytes, *edits: Edit) -> Any:
    return json.loads(edited(body, edits))


def test_set_replaces_a_value_and_no_other_byte() -> None:
    assert edited(BODY, [Edit("set", ("n",), b"2")]) == BODY.replace(b'"n":\t1', b'"n":\t2')


def test_set_makes_the_member_and_the_objects_around_it() -> None:
    changed = edited(BODY, [Edit("set", ("a", "b", "c"), b"true")])

    assert json.loads(changed)["a"] == {"b": {"c": True}}
    assert changed.endswith(BODY[1:])


def test_set_adds_beside_what_is_there() -> None:
    body = b'{"chat_template_kwargs": {"x": 1}, "k": {}}'

    assert after(body, Edit("set", ("chat_template_kwargs", "y"), b"2"))["chat_template_kwargs"] == {"y": 2, "x": 1}
    assert after(body, Edit("set", ("k", "y"), b"2"))["k"] == {"y": 2}


def test_insert_puts_an_element_before_another_or_at_the_end() -> None:
    body = b'{"messages": [ 1, 2 ], "none": [ ], "one": [1]}'

    assert after(body, Edit("insert", ("messages", 0), b"0"))["messages"] == [0, 1, 2]
    assert after(body, Edit("insert", ("messages", 9), b"3"))["messages"] == [1, 2, 3]
    assert after(body, Edit("insert", ("none", 0), b"3"))["none"] == [3]
    assert after(body, Edit("insert", ("one", 1), b"2"))["one"] == [1, 2]


def test_prefix_leaves_the_clients_escapes_as_they_are() -> None:
    changed = edited(BODY, [Edit("prefix", ("messages", 0, "content"), b"be \\n")])

    assert b'"be \\nh\\u00e9"' in changed


@pytest.mark.parametrize("name", ["first", "middle", "last", 'na"me', "back\\"])
def test_remove_takes_a_member_out_with_its_comma(name: str) -> None:
    whole: dict[str, Any] = {"first": 1, "middle": {"a": [1, 2]}, 'na"me': "x", "back\\": [], "last": None}
    body = json.dumps(whole, indent=1).encode()

    assert after(body, Edit("remove", (name,))) == {k: v for k, v in whole.items() if k != name}


def test_remove_takes_elements_out() -> None:
    body = b'{"m": [1, 2 , 3]}'

    assert [after(body, Edit("remove", ("m", n)))["m"] for n in range(3)] == [[2, 3], [1, 3], [1, 2]]
    assert after(b'{"m":[1]}', Edit("remove", ("m", 0))) == {"m": []}


def test_remove_takes_out_a_member_however_often_it_is_there() -> None:
    body = b'{"logprobs": 5, "n": 1, "logprobs": 6, "x": {"a": 1}, "logprobs": 7}'

    assert after(body, Edit("remove", ("logprobs",))) == {"n": 1, "x": {"a": 1}}


def test_a_member_that_is_there_again_deep_inside_is_taken_out_there_and_what_follows_keeps_its_bytes() -> None:
    body = b'{"x": {"a": 1, "b": [2], "a": {"c": 3}}, "y": [ 4 ], "a": 5 }'

    assert edited(body, [Edit("remove", ("x", "a"))]) == b'{"x": {"b":[2]}, "y": [ 4 ], "a": 5 }'


def test_remove_leaves_every_other_byte_as_it_was() -> None:
    assert edited(BODY, [Edit("remove", ("n",))]) == BODY.replace(b'"n":\t1,', b"")


def test_of_a_member_that_is_there_twice_the_last_is_set() -> None:
    assert after(b'{"n": 1, "n": 2}', Edit("set", ("n",), b"3")) == {"n": 3}


def test_what_is_not_there_changes_nothing() -> None:
    edits = [
        Edit("remove", ("none",)),
        Edit("remove", ("n", "inside")),
        Edit("insert", ("n", 0), b"1"),
        Edit("prefix", ("n",), b"x"),
        Edit("set", ("n", "inside"), b"1"),
        Edit("set", ("messages", "name"), b"1"),
    ]

    assert edited(BODY, edits) == BODY


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'"x"', b'{"a": "\xff"}'])
def test_a_body_that_is_no_object_stays_as_it_is(body: bytes) -> None:
    assert edited(body, [Edit("remove", ("a", "b")), Edit("set", ("a", 0), b"1")]) == body


TEXTS = st.text(max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=5), TEXTS, VALUES, st.sampled_from([None, 1]))
def test_any_member_of_any_object_can_be_set_and_removed(
    whole: dict[str, Any], name: str, value: Any, indent: int | None
) -> None:
    body = json.dumps(whole, indent=indent).encode()
    encoded = json.dumps(value).encode()

    assert after(body, Edit("set", (name,), encoded)) == {**whole, name: value}
    assert after(body, Edit("remove", (name,))) == {k: v for k, v in whole.items() if k != name}
