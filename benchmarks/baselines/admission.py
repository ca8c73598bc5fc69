"""Who is turned away before any endpoint is looked for: llm-d's two ways without flow control, and none.

Source: llm-d-router ebab687, legacy admission over the `utilization-detector`, and the `probabilistic-admitter`.
Saturation is the mean over endpoints of `max(waiting / 5, kv / 0.8)` of the scraped samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from epp.domain import Endpoint

WAITING_MAX = 5.0
KV_MAX = 0.8
STALE_S = 0.2


class Admission(Protocol):
    """Decides by priority and the state of the pool."""

    def refuses(self, priority: int, endpoints: Sequence[Endpoint], now: float, rng: Random) -> str | None:
        """Why the request is turned away, None where it is not."""


@dataclass(slots=True, frozen=True)
class LegacyGate:
    """Negative priorities are dropped while saturation is 1 or more; a sample that is old or missing counts as 1."""

    def refuses(self, priority: int, endpoints: Sequence[Endpoint], now: float, rng: Random) -> str | None:
        """Only those with a negative priority."""
        if priority < 0 and saturation(endpoints, now, STALE_S) >= 1.0:
            return "saturated"
        return None


@dataclass(slots=True, frozen=True)
class ProbabilisticAdmitter:
    """Negative priorities are dropped with a chance of `min(1, k * saturation ** power)`."""

    power: float = 5.0
    k: float = 300.0

    def refuses(self, priority: int, endpoints: Sequence[Endpoint], now: float, rng: Random) -> str | None:
        """Only those with a negative priority."""
        if priority < 0 and rng.random() < min(1.0, self.k * saturation(endpoints, now, STALE_S) ** self.power):
            return "saturated"
        return None


def saturation(endpoints: Sequence[Endpoint], now: float, stale_s: float) -> float:
    """0 (idle) to 1 and beyond; 1 where there are no endpoints."""
    if not endpoints:
        return 1.0
    return sum(_of(endpoint, now, stale_s) for endpoint in endpoints) / len(endpoints)


def _of(endpoint: Endpoint, now: float, stale_s: float) -> float:
    load = endpoint.load
    if load is None or load.waiting is None or load.kv_usage is None or now - load.at > stale_s:
        return 1.0
    return max(load.waiting / WAITING_MAX, load.kv_usage / KV_MAX)
