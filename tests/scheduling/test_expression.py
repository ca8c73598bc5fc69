"""The part of CEL that is understood: what it computes, and that the rest is refused where it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.domain import Usage
from epp.scheduling.expression import compile_expression

USAGE = Usage(prompt=7, completion=10, cached=3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("usage.completion_tokens", 10),
        ("usage.prompt_tokens + 2 * usage.completion_tokens", 27),
        ("(usage.prompt_tokens + 2) * usage.completion_tokens", 90),
        ("usage.total_tokens - usage.cached_tokens", 14),
        ("usage.prompt_tokens_details.cached_tokens", 3),
        ("7 / 2", 3),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("7 / 2.0", 3.5),
        ("double(7) / 2", 3.5),
        ("int(3.9)", 3),
        ("10 - 3 - 2", 5),
        ("--1", 1),
        ("usage.prompt_tokens > 5 && usage.cached_tokens != 3", False),
        ("usage.prompt_tokens > 5 || 1 / 0 > 0", True),
        ("!(1 >= 2) ? 4 : 1 / 0", 4),
        ("true ? false ? 1 : 2 : 3", 2),
        ("has(usage.prompt_tokens)", True),
    ],
)
def test_it_computes_as_cel_does(text: str, value: float) -> None:
    computed = compile_expression(text)(USAGE)

    assert computed == value
    assert type(computed) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a number, a name or a bracket at the end"),
        ("usage", "`usage` is not understood"),
        ("request.headers.size()", "`request.headers.size` is not understood"),
        ("usage.tokens", "known: usage.prompt_tokens"),
        ("'text'", "at \"'text'\""),
        ("1 +", "at the end"),
        ("1 2", "expected an operator or the end at '2'"),
        ("(1", "expected `)` at the end"),
        ("true ? 1", "expected `:`"),
        ("[1][0]", "expected"),
        ("(" * 40 + "1" + ")" * 40, "nested deeper"),
        ("1+" * 600 + "1", "longer than"),
    ],
)
def test_what_is_not_understood_is_refused_when_it_is_written(text: str, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        compile_expression(text)

    assert says in str(refused.value)


@pytest.mark.parametrize("text", ["1 / 0", "1 % 0", "1.0 / 0", "1 && true", "1 ? 2 : 3", "!1"])
def test_what_has_no_value_says_so_when_it_is_asked(text: str) -> None:
    compiled = compile_expression(text)

    with pytest.raises(ArithmeticError):
        compiled(USAGE)


@given(st.text(alphabet="usage.promt_cls 0123+-*/%<>=!&|?:()", max_size=40))
def test_any_text_is_a_function_or_a_mistake(text: str) -> None:
    try:
        compiled = compile_expression(text)
    except ValueError:
        return
    try:
        value = compiled(USAGE)
    except ArithmeticError:
        return
    assert isinstance(value, int | float)
