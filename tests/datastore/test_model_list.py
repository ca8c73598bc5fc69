"""Answers of /v1/models and what is made of them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.datastore import model_list
from epp.datastore.model_list import BadModelList


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"object":"list","data":[]}', {}),
        (b'{"data":[{"id":"llama3-8b","root":"/weights/llama","parent":null}]}', {"llama3-8b": "llama3-8b"}),
        (b'{"data":[{"id":"base"},{"id":"sql","root":"/lora/sql","parent":"base"}]}', {"base": "base", "sql": "base"}),
        (b'{"data":[{"id":"a","parent":""}]}', {"a": "a"}),
        (b'{"data":[{"id":"a"},{"id":"b"}]}', {"a": "a", "b": "b"}),
    ],
)
def test_each_name_has_its_base_model(body: bytes, models: dict[str, str]) -> None:
    assert model_list.parse(body) == models


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not a model list: Input data was truncated"),
        (b"<html>", "not a model list: JSON is malformed"),
        (b"[]", "not a model list: Expected `object`, got `array`"),
        (b"{}", "not a model list: Object missing required field `data`"),
        (b'{"data":null}', "not a model list: Expected `array`, got `null`"),
        (b'{"data":[{"id":5}]}', r"not a model list: Expected `str`, got `int` - at `\$.data\[0\].id`"),
        (b'{"data":[{"id":"\xff"}]}', "not a model list: 'utf-8' codec"),
        (b'{"x":' + b"[" * 100_000, "not a model list: maximum recursion depth"),
    ],
)
def test_bad_answers_say_where(body: bytes, message: str) -> None:
    with pytest.raises(BadModelList, match=message):
        model_list.parse(body)


@given(st.binary())
def test_whatever_the_bytes_are_the_error_is_ours(body: bytes) -> None:
    with suppress(BadModelList):
        assert isinstance(model_list.parse(body), dict)
