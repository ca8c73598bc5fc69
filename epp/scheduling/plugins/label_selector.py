"""Keep endpoints by their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import msgspec

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.framework import Filter, Query

Labels = Mapping[str, str]


class Expression(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A requirement of a Kubernetes label selector."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.operator in ("In", "NotIn")) is not bool(self.values):
            raise ValueError(f"{self.operator} and `values` do not go together like this")

    def matches(self, labels: Labels) -> bool:
        """Whether these labels fulfil it; a label that is missing is in no set."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


@dataclass(slots=True)
class LabelSelectorFilter(Filter):
    """Keeps endpoints that a Kubernetes label selector selects; without any requirement all (llm-d)."""

    type: ClassVar[str] = "label-selector-filter"
    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: tuple[Expression, ...] = ()

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those selected."""
        equal, expressions = self.match_labels.items(), self.match_expressions
        if not expressions:
            return [e for e in endpoints if equal <= e.labels.items()]
        return [e for e in endpoints if equal <= e.labels.items() and all(x.matches(e.labels) for x in expressions)]


@dataclass(slots=True)
class ByLabelSelector(LabelSelectorFilter):
    """The older name of `label-selector-filter`."""

    type: ClassVar[str] = "by-label-selector"
    stage: ClassVar[Stage] = "deprecated"


@dataclass(slots=True)
class ByLabel(Filter):
    """Keeps endpoints whose `label` has one of the values, and with `allows_no_label` those without it (llm-d)."""

    type: ClassVar[str] = "by-label"
    stage: ClassVar[Stage] = "deprecated"
    label: str
    valid_values: tuple[str, ...] = ()
    allows_no_label: bool = False

    def __post_init__(self) -> None:
        if not self.label:
            raise ValueError("label must not be empty")
        if not (self.valid_values or self.allows_no_label):
            raise ValueError("valid_values must not be empty where allowsNoLabel is false")

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those with one of the values."""
        valid = {*self.valid_values, *((None,) if self.allows_no_label else ())}
        return [e for e in endpoints if e.labels.get(self.label) in valid]
