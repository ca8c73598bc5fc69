"""The saturation detectors of flow control, which are also filters: leave out endpoints that are full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.options.flow import Concurrency, Utilization
from epp.scheduling.framework import Filter, Query

_OPEN = "Missing or late metrics mean that nobody knows, not that an endpoint is full."


@dataclass(slots=True, frozen=True)
class UtilizationDetector(Utilization, Filter):
    """Saturation is the mean over the endpoints of `max(waiting / Q, kv_usage / K)` (llm-d `utilization-detector`).

    In a profile it keeps endpoints with `waiting <= Q (1 + headroom)` and `kv_usage <= K (1 + headroom)`, and all where
    none is.
    """

    type: ClassVar[str] = "utilization-detector"
    differs: ClassVar[str] = _OPEN

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those with room, or all."""
        oldest = query.now - self.metrics_staleness_threshold
        most, fullest = (
            self.queue_depth_threshold * (1 + self.headroom),
            self.kv_cache_util_threshold * (1 + self.headroom),
        )
        kept = [
            e
            for e in endpoints
            if (load := e.load) is None
            or load.at < oldest
            or ((load.waiting or 0.0) <= most and (load.kv_usage or 0.0) <= fullest)
        ]
        return kept or list(endpoints)


@dataclass(slots=True, frozen=True)
class ConcurrencyDetector(Concurrency, Filter):
    """Saturation is what is in flight over what may be, summed over the endpoints (llm-d `concurrency-detector`).

    In a profile it keeps endpoints with room for one more, up to `(1 + headroom)` of their share; all where none has.
    """

    type: ClassVar[str] = "concurrency-detector"

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Those with room, or all."""
        more = 1 + self.headroom
        kept = list(endpoints)
        if self.concurrency_mode != "tokens":
            kept = [e for e in kept if e.inflight_requests < self.max_concurrency * more]
        if self.concurrency_mode != "requests":
            kept = [e for e in kept if e.inflight_tokens < self.max_token_concurrency * more]
        return kept or list(endpoints)
