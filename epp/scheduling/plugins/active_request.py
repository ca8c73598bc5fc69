"""Prefer endpoints to which we sent few requests that are still open: our own ledger, never stale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer


@dataclass(slots=True)
class ActiveRequestScorer(Scorer):
    """1 when `c <= idle_threshold`, else `(max + softness - c) / (max + softness) * max_busy_score`.

    `requestTimeout` is of older files and changes nothing.

    `c` counts requests in flight, `max` is the largest of them. With softness 0 this is llm-d's `active-request-scorer`
    (`(max - c) / max`), in which 1 in flight against 0 is the whole scale; softness is how many requests are noise.
    """

    type: ClassVar[str] = "active-request-scorer"
    differs: ClassVar[str] = "`softness` is ours; 0 is the Go picker's formula."
    idle_threshold: int = 0
    max_busy_score: float = 1.0
    softness: float = 0.0
    request_timeout: str = ""

    def __post_init__(self) -> None:
        if self.idle_threshold < 0:
            raise ValueError("idle_threshold must not be negative")
        if not 0.0 <= self.max_busy_score <= 1.0:
            raise ValueError("max_busy_score must be from 0 to 1")
        if not (isfinite(self.softness) and self.softness >= 0.0):
            raise ValueError("softness must be finite and not negative")

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the ledger."""
        counts = [e.inflight_requests for e in endpoints]
        idle = self.idle_threshold
        if max(counts) <= idle:
            return [1.0] * len(counts)
        top = max(counts) + self.softness
        slope = self.max_busy_score / top
        return [1.0 if c <= idle else (top - c) * slope for c in counts]
