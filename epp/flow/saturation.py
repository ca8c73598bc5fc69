"""How full some endpoints are together, by the Go picker's two detectors; 1 is full, and more is possible.

Must stay true: a sample that is late or missing never stops anything. Such an endpoint is judged by what we ourselves
have in flight there (the Go picker takes it for full, and halts).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from epp.domain import Endpoint

ConcurrencyMode = Literal["requests", "tokens", "hybrid"]


class Saturation(ABC):
    """A detector. Its fields are the parameters of the plugin of that `type`."""

    type: ClassVar[str]
    counts_ours: ClassVar[bool]  # whether a request counts as soon as it is sent

    @abstractmethod
    def of(self, endpoints: Sequence[Endpoint], now: float) -> float:
        """How full they are; nobody there is full."""

    def stale(self, endpoints: Sequence[Endpoint], now: float) -> int:
        """How many of them are judged by the ledger for want of a fresh sample."""
        return 0


@dataclass(frozen=True, slots=True)
class Concurrency(Saturation):
    """In flight, of what may be: the sum over the endpoints by the sum of their capacities.

    `headroom` is the part above its capacity that an endpoint may be filled to where this serves as a filter.
    """

    type: ClassVar[str] = "concurrency-detector"
    counts_ours: ClassVar[bool] = True
    mode: ConcurrencyMode = "requests"
    requests_max: int = 100
    tokens_max: int = 1_000_000
    headroom: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in ("requests", "tokens", "hybrid"):
            raise ValueError("mode must be requests, tokens or hybrid")
        if self.requests_max <= 0 or self.tokens_max <= 0:
            raise ValueError("requests_max and tokens_max must be above 0")
        if self.headroom < 0:
            raise ValueError("headroom must not be negative")

    def of(self, endpoints: Sequence[Endpoint], now: float) -> float:
        """In `hybrid`, the worse of requests and tokens."""
        if not endpoints:
            return 1.0
        requests = sum(e.inflight_requests for e in endpoints) / (len(endpoints) * self.requests_max)
        tokens = sum(e.inflight_tokens for e in endpoints) / (len(endpoints) * self.tokens_max)
        return requests if self.mode == "requests" else tokens if self.mode == "tokens" else max(requests, tokens)

    def keep(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those below capacity with its headroom; all where that would be none."""
        requests_max, tokens_max = self.requests_max * (1 + self.headroom), self.tokens_max * (1 + self.headroom)
        by_requests, by_tokens = self.mode != "tokens", self.mode != "requests"
        kept = [
            e
            for e in endpoints
            if not (by_requests and e.inflight_requests >= requests_max)
            and not (by_tokens and e.inflight_tokens >= tokens_max)
        ]
        return kept or list(endpoints)


LEDGER = Concurrency()


@dataclass(frozen=True, slots=True)
class Utilization(Saturation):
    """The mean of the worse of waiting requests and KV cache, each by its threshold, as engines last said.

    A sample older than `stale_s` gives way to `ledger`. (The Go picker's 0.2 s are four of its scrapes.)
    """

    type: ClassVar[str] = "utilization-detector"
    counts_ours: ClassVar[bool] = False
    waiting_max: float = 5.0
    kv_max: float = 0.8
    stale_s: float = 0.2
    headroom: float = 0.0
    ledger: Concurrency = LEDGER

    def __post_init__(self) -> None:
        if self.waiting_max <= 0 or self.stale_s <= 0:
            raise ValueError("waiting_max and stale_s must be above 0")
        if not 0 < self.kv_max <= 1:
            raise ValueError("kv_max must be above 0 and at most 1")
        if self.headroom < 0:
            raise ValueError("headroom must not be negative")

    def of(self, endpoints: Sequence[Endpoint], now: float) -> float:
        """The mean over the endpoints."""
        if not endpoints:
            return 1.0
        return sum(self._one(endpoint, now) for endpoint in endpoints) / len(endpoints)

    def stale(self, endpoints: Sequence[Endpoint], now: float) -> int:
        """Those without a fresh sample."""
        return sum(not self._fresh(endpoint, now) for endpoint in endpoints)

    def keep(self, endpoints: Sequence[Endpoint], now: float) -> list[Endpoint]:
        """Those at or below both thresholds with their headroom; all where that would be none."""
        factor = 1 + self.headroom
        kept = [e for e in endpoints if self._one(e, now) <= factor]
        return kept or list(endpoints)

    def _one(self, endpoint: Endpoint, now: float) -> float:
        load = endpoint.load
        if load is None or not self._fresh(endpoint, now):
            return self.ledger.of((endpoint,), now)
        return max((load.waiting or 0.0) / self.waiting_max, (load.kv_usage or 0.0) / self.kv_max)

    def _fresh(self, endpoint: Endpoint, now: float) -> bool:
        """Fresh, and with something to go by."""
        load = endpoint.load
        told = load is not None and not (load.waiting is None and load.kv_usage is None)
        return load is not None and told and now - load.at <= self.stale_s


def drift(endpoint: Endpoint) -> float | None:
    """Requests that our ledger has in flight beyond those the engine counted when it last said; None: it never did.

    Other routers' requests make it negative; a lease that leaks would make it grow.
    """
    load = endpoint.load
    if load is None or load.running is None:
        return None
    return endpoint.inflight_requests - load.running - (load.waiting or 0.0)
