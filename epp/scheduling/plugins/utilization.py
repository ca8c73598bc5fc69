"""Leave out endpoints that are busy beyond given bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec

from epp.domain import Endpoint
from epp.plugin import Stage
from epp.scheduling.framework import Filter, Query

Measure = Literal["active-requests", "running-requests", "waiting-queue", "kv-cache-utilization"]


class Condition(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A number of an endpoint that must not be above `max_value`."""

    type: Measure
    max_value: float


@dataclass(slots=True)
class UtilizationFilter(Filter):
    """Keeps endpoints with no number above its bound; with `fallback_on_empty` all where none is left (llm-d)."""

    type: ClassVar[str] = "utilization-filter"
    stage: ClassVar[Stage] = "alpha"
    differs: ClassVar[str] = "A number that is missing or older than 2 s is within bounds."
    conditions: tuple[Condition, ...]
    fallback_on_empty: bool = False
    stale_after_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError("conditions must not be empty")
        if not self.stale_after_seconds > 0:
            raise ValueError("stale_after_seconds must be above 0")

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those within bounds."""
        oldest, kept = query.now - self.stale_after_seconds, list(endpoints)
        for condition in self.conditions:
            measured, bound = _MEASURES[condition.type], condition.max_value
            kept = [e for e in kept if (value := measured(e, oldest)) is None or value <= bound]
        return kept or (list(endpoints) if self.fallback_on_empty else [])


def _running(endpoint: Endpoint, oldest: float) -> float | None:
    load = endpoint.load
    return load.running if load is not None and load.at >= oldest else None


def _waiting(endpoint: Endpoint, oldest: float) -> float | None:
    load = endpoint.load
    return load.waiting if load is not None and load.at >= oldest else None


def _kv_usage(endpoint: Endpoint, oldest: float) -> float | None:
    load = endpoint.load
    return load.kv_usage if load is not None and load.at >= oldest else None


_MEASURES: dict[Measure, Callable[[Endpoint, float], float | None]] = {
    "active-requests": lambda endpoint, oldest: endpoint.inflight_requests,
    "running-requests": _running,
    "waiting-queue": _waiting,
    "kv-cache-utilization": _kv_usage,
}
