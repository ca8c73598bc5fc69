"""The part of CEL that numbers about an answer need: text -> a function of its usage.

Must stay true: what is not understood is refused when it is compiled; a compiled expression always ends.
Source: the Common Expression Language's grammar and precedence. Whole numbers divide as there, towards zero.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from epp.domain import Usage

Value = Any  # int, float or bool; which of them is checked where it matters
Compiled = Callable[[Usage], Value]
LENGTH_MAX = 1024
NESTING_MAX = 32

_TOKEN = re.compile(r"\s*(?:(\d+\.\d+|\d+)|([A-Za-z_][\w.]*)|(&&|\|\||[=!<>]=|[-+*/%<>!?:()]))")
FIELDS: dict[str, Compiled] = {
    "usage.prompt_tokens": lambda usage: usage.prompt,
    "usage.completion_tokens": lambda usage: usage.completion,
    "usage.total_tokens": lambda usage: usage.prompt + usage.completion,
    "usage.cached_tokens": lambda usage: usage.cached,
    "usage.prompt_tokens_details.cached_tokens": lambda usage: usage.cached,
}
_CASTS: dict[str, Callable[[Value], Value]] = {"int": int, "double": float}


def compile_expression(text: str) -> Compiled:
    """The function. Raises ValueError that says where the text is not understood; ArithmeticError comes when called."""
    if len(text) > LENGTH_MAX:
        raise ValueError(f"is longer than {LENGTH_MAX} characters")
    return _Parser(text).whole()


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise ArithmeticError("a number is neither true nor false")
    return value


def _divide(left: Value, right: Value) -> Value:
    if isinstance(left, float) or isinstance(right, float):
        return left / right
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) is (right < 0) else -quotient


_LEVELS: tuple[dict[str, Callable[[Value, Value], Value]], ...] = (
    {"||": operator.or_},
    {"&&": operator.and_},
    {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    },
    {"+": operator.add, "-": operator.sub},
    {"*": operator.mul, "/": _divide, "%": lambda a, b: a - b * int(_divide(a, b))},
)


class _Parser:
    """The text from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = self._end = 0
        self._token: tuple[str, str] = ("end", "")
        self._depth = 0
        self._next()

    def whole(self) -> Compiled:
        found = self._choice()
        if self._token[0] != "end":
            raise self._wrong("an operator or the end")
        return found

    def _choice(self) -> Compiled:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise ValueError(f"is nested deeper than {NESTING_MAX} levels")
        condition = self._binary(0)
        if self._takes("?"):
            yes = self._choice()
            self._expect(":")
            no = self._choice()
            self._depth -= 1
            return lambda usage: yes(usage) if _truth(condition(usage)) else no(usage)
        self._depth -= 1
        return condition

    def _binary(self, level: int) -> Compiled:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._token[0] == "sign" and self._token[1] in _LEVELS[level]:
            how = _LEVELS[level][self._token[1]]
            self._next()
            left = _both(how, left, self._binary(level + 1))
        return left

    def _unary(self) -> Compiled:
        signs = ""
        while self._token in (("sign", "-"), ("sign", "!")):
            signs += self._token[1]
            self._next()
        value = self._primary()
        for sign in reversed(signs):
            value = _negated(value) if sign == "-" else _not(value)
        return value

    def _primary(self) -> Compiled:
        kind, text = self._token
        if kind == "number":
            self._next()
            number = float(text) if "." in text else int(text)
            return lambda usage: number
        if kind == "name":
            self._next()
            return self._named(text)
        self._expect("(", "a number, a name or a bracket")
        inner = self._choice()
        self._expect(")")
        return inner

    def _named(self, name: str) -> Compiled:
        if name in ("true", "false"):
            return lambda usage: name == "true"
        if name in FIELDS:
            return FIELDS[name]
        if self._token == ("sign", "(") and name in (*_CASTS, "has"):
            self._next()
            inner = self._choice()
            self._expect(")")
            if name == "has":
                return lambda usage: True  # a usage has all the fields there are
            cast = _CASTS[name]
            return lambda usage: cast(inner(usage))
        raise ValueError(f"`{name}` is not understood; known: {', '.join([*FIELDS, *_CASTS, 'has'])}")

    def _takes(self, sign: str) -> bool:
        if self._token != ("sign", sign):
            return False
        self._next()
        return True

    def _expect(self, sign: str, what: str = "") -> None:
        if not self._takes(sign):
            raise self._wrong(what or f"`{sign}`")

    def _next(self) -> None:
        self._at = self._end
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            if self._text[self._at :].strip():
                raise self._wrong("a number, a name or an operator")
            self._token = ("end", "")
            return
        self._end = found.end()
        kind = found.lastindex or 1
        self._token = (("number", "name", "sign")[kind - 1], found[kind])

    def _wrong(self, expected: str) -> ValueError:
        rest = self._text[self._at :].strip()
        return ValueError(f"expected {expected} at {rest[:20]!r}" if rest else f"expected {expected} at the end")


def _both(how: Callable[[Value, Value], Value], left: Compiled, right: Compiled) -> Compiled:
    if how is operator.or_:
        return lambda usage: _truth(left(usage)) or _truth(right(usage))
    if how is operator.and_:
        return lambda usage: _truth(left(usage)) and _truth(right(usage))
    return lambda usage: how(left(usage), right(usage))


def _negated(value: Compiled) -> Compiled:
    return lambda usage: -value(usage)


def _not(value: Compiled) -> Compiled:
    return lambda usage: not _truth(value(usage))
