"""Tell the gateway what an answer cost: numbers made of its usage, in dynamic metadata with its last piece."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from epp.domain import Usage
from epp.scheduling.expression import Compiled, compile_expression
from epp.scheduling.framework import Memory, Metadata, Query


class Key(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Where the number goes."""

    name: str
    namespace: str = "envoy.lb"


class Attribute(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One number: what it is, and where it is told only sometimes, when."""

    key: Key
    expression: str
    condition: str = ""

    def __post_init__(self) -> None:
        for name in ("expression", "condition"):
            try:
                compile_expression(getattr(self, name) or "true")
            except ValueError as wrong:
                raise ValueError(f"{name}: {wrong}") from wrong


@dataclass(slots=True)
class RequestAttributeReporter(Memory):
    """Each attribute is an expression over `usage`, told where its condition holds and the answer had a usage (llm-d).

    Of CEL there are numbers, `usage.prompt_tokens`, `.completion_tokens`, `.total_tokens`, `.cached_tokens`,
    `has(...)`, `int(...)`, `double(...)`, arithmetic, comparison, `&&`, `||`, `!`, `? :` and brackets.
    """

    type: ClassVar[str] = "request-attribute-reporter"
    differs: ClassVar[str] = (
        "Other expressions of CEL are refused at the start. Whole numbers and fractions may be mixed."
    )
    attributes: tuple[Attribute, ...]
    _compiled: list[tuple[Key, Compiled, Compiled]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._compiled = [
            (a.key, compile_expression(a.expression), compile_expression(a.condition or "true"))
            for a in self.attributes
        ]

    def reports(self, query: Query, usage: Usage | None) -> Metadata:
        """By namespace and name; what cannot be computed (a division by zero) is left out."""
        told: dict[str, dict[str, str | float]] = {}
        if usage is None:
            return told
        for key, expression, condition in self._compiled:
            try:
                if condition(usage) is True:
                    told.setdefault(key.namespace, {})[key.name] = float(expression(usage))
            except ArithmeticError:
                continue
        return told
