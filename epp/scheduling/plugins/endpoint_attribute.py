"""Go by a number that an engine tells under a name of one's own (`customMetrics` of core-metrics-extractor)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.framework import Filter, Query, Scorer
from epp.scheduling.scores import fill_unknown

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}


class Range(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The ends of a scale."""

    min: float
    max: float

    def __post_init__(self) -> None:
        if not self.min < self.max:
            raise ValueError("`min` must be below `max`")


@dataclass(slots=True)
class EndpointAttributeScorer(Scorer):
    """`(value - min) / (max - min)`, or 1 less that where lower is better; a fixed scale, or that of the endpoints.

    All equal: 1. A value that is missing or older than 2 s: the mean of the others (llm-d).
    """

    type: ClassVar[str] = "endpoint-attribute-scorer"
    stage: ClassVar[Stage] = "alpha"
    differs: ClassVar[str] = "The attribute is one of the engine's `customMetrics`; `producer` changes nothing."
    attribute_key: str
    producer: str = ""
    algorithm: Literal["linear_lower_is_better", "linear_higher_is_better"] = "linear_lower_is_better"
    fixed_range: Range | None = None
    stale_after_seconds: float = 2.0

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint."""
        values = _values(self.attribute_key, query.now - self.stale_after_seconds, endpoints)
        known = [value for value in values if value is not None]
        low = min(known, default=0.0) if self.fixed_range is None else self.fixed_range.min
        high = max(known, default=0.0) if self.fixed_range is None else self.fixed_range.max
        if low == high:
            return fill_unknown([None if value is None else 1.0 for value in values])
        shares = [None if v is None else min(1.0, max(0.0, (v - low) / (high - low))) for v in values]
        if self.algorithm == "linear_lower_is_better":
            shares = [None if share is None else 1.0 - share for share in shares]
        return fill_unknown(shares)


@dataclass(slots=True)
class EndpointAttributeFilter(Filter):
    """Keeps endpoints whose value stands in the relation `operator` to `threshold`.

    One without a value passes unless `onMissing` is `Fail`; with `fallbackOnEmpty` all where none is left (llm-d).
    """

    type: ClassVar[str] = "endpoint-attribute-filter"
    stage: ClassVar[Stage] = "alpha"
    differs: ClassVar[str] = "The attribute is one of the engine's `customMetrics`; `producer` changes nothing."
    attribute_key: str
    threshold: float
    operator: Literal["lt", "lte", "gt", "gte", "eq", "ne"] = "lte"
    producer: str = ""
    on_missing: Literal["Pass", "Fail"] = "Pass"
    fallback_on_empty: bool = False
    stale_after_seconds: float = 2.0

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those whose value is as it should be."""
        values = _values(self.attribute_key, query.now - self.stale_after_seconds, endpoints)
        fits, missing = _OPERATORS[self.operator], self.on_missing == "Pass"
        kept = [
            e
            for e, value in zip(endpoints, values, strict=True)
            if (missing if value is None else fits(value, self.threshold))
        ]
        return kept or (list(endpoints) if self.fallback_on_empty else [])


def _values(key: str, oldest: float, endpoints: Sequence[Endpoint]) -> list[float | None]:
    loads = [e.load for e in endpoints]
    return [(s.custom or {}).get(key) if s is not None and s.at >= oldest else None for s in loads]
