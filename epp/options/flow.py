"""What a configuration file says of flow control: detectors, policies, bands and bounds. `epp/flow` acts on it.

Names, parameters and defaults are the Go picker's. Durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Literal

from epp.plugin import Plugin, Setting, Stage, duration

BAND_BYTES_MAX = 10**9
BAND_REQUESTS_MAX = 5000
REQUEST_TTL_S = 60.0


class Detector(Plugin):
    """How full the pool is."""


@dataclass(slots=True, frozen=True)
class Utilization(Detector):
    """Saturation is the mean over the endpoints of `max(waiting / Q, kv_usage / K)`; above 1 the pool is full.

    As a filter it keeps endpoints with `waiting <= Q (1 + headroom)` and `kv_usage <= K (1 + headroom)`.
    """

    type: ClassVar[str] = "utilization-detector"
    queue_depth_threshold: int = 5
    kv_cache_util_threshold: float = 0.8
    metrics_staleness_threshold: float = duration(0.2)
    headroom: float = 0.0

    def __post_init__(self) -> None:
        if self.queue_depth_threshold <= 0:
            raise ValueError("queue_depth_threshold must be above 0")
        if not 0.0 < self.kv_cache_util_threshold <= 1.0:
            raise ValueError("kv_cache_util_threshold must be above 0 and at most 1")
        if not self.metrics_staleness_threshold > 0.0:
            raise ValueError("metrics_staleness_threshold must be above 0")
        if not (isfinite(self.headroom) and self.headroom >= 0.0):
            raise ValueError("headroom must not be negative")


@dataclass(slots=True, frozen=True)
class Concurrency(Detector):
    """Saturation is what is in flight over what may be, in requests, in tokens, or the greater of both.

    As a filter it keeps endpoints with room, each up to `(1 + headroom)` of its share.
    """

    type: ClassVar[str] = "concurrency-detector"
    concurrency_mode: Literal["requests", "tokens", "hybrid"] = "requests"
    max_concurrency: int = 100
    max_token_concurrency: int = 1_000_000
    headroom: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_concurrency", "max_token_concurrency"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")
        if not (isfinite(self.headroom) and self.headroom >= 0.0):
            raise ValueError("headroom must not be negative")


class FairnessPolicy(Setting):
    """Which tenant of a band goes next."""


@dataclass(slots=True, frozen=True)
class GlobalStrictFairnessPolicy(FairnessPolicy):
    """Tenants do not count: the head that the ordering policy prefers over all queues goes."""

    type: ClassVar[str] = "global-strict-fairness-policy"


@dataclass(slots=True, frozen=True)
class RoundRobinFairnessPolicy(FairnessPolicy):
    """Tenants take turns."""

    type: ClassVar[str] = "round-robin-fairness-policy"


@dataclass(slots=True, frozen=True)
class TokenFairnessPolicy(FairnessPolicy):
    """The tenant that was served the fewest tokens goes, counted from when it last had something waiting."""

    type: ClassVar[str] = "token-fairness-policy"
    stage: ClassVar[Stage] = "ours"


class OrderingPolicy(Setting):
    """Which request of a tenant goes next."""


@dataclass(slots=True, frozen=True)
class FcfsOrderingPolicy(OrderingPolicy):
    """First come, first served."""

    type: ClassVar[str] = "fcfs-ordering-policy"


@dataclass(slots=True, frozen=True)
class EdfOrderingPolicy(OrderingPolicy):
    """Earliest deadline first: time of arrival plus time to live."""

    type: ClassVar[str] = "edf-ordering-policy"


@dataclass(slots=True, frozen=True)
class SloDeadlineOrderingPolicy(OrderingPolicy):
    """Earliest first token due: time of arrival plus `x-llm-d-slo-ttft-ms`; without the header, last."""

    type: ClassVar[str] = "slo-deadline-ordering-policy"


class UsageLimitPolicy(Setting):
    """Up to which saturation of the pool a band is let through."""


@dataclass(slots=True, frozen=True)
class StaticUsageLimitPolicy(UsageLimitPolicy):
    """The same ceiling for every band."""

    type: ClassVar[str] = "static-usage-limit-policy"
    threshold: float = 1.0

    def __post_init__(self) -> None:
        if not (isfinite(self.threshold) and self.threshold > 0.0):
            raise ValueError("threshold must be above 0")


@dataclass(slots=True, frozen=True)
class PriorityHoldbackPolicy(UsageLimitPolicy):
    """Ceilings fall linearly from `max_ceiling` for the highest band to `min_ceiling` for the lowest."""

    type: ClassVar[str] = "priority-holdback-policy"
    stage: ClassVar[Stage] = "alpha"
    min_ceiling: float
    max_ceiling: float = 1.0
    shape: Literal["linear"] = "linear"
    domain: Literal["rank", "value"] = "rank"

    def __post_init__(self) -> None:
        if not 0.0 < self.min_ceiling <= self.max_ceiling:
            raise ValueError("min_ceiling must be above 0 and at most maxCeiling")


@dataclass(slots=True, frozen=True)
class SoftReflectiveCeilingPolicy(UsageLimitPolicy):
    """`1 - i * saturation / (N - 1)` for the i-th of N bands, the highest being number 0, which is never held."""

    type: ClassVar[str] = "soft-reflective-ceiling-policy"
    stage: ClassVar[Stage] = "alpha"


@dataclass(slots=True, frozen=True)
class EvictionSheddableFilter(Setting):
    """Only requests of negative priority may be cut off while they run."""

    type: ClassVar[str] = "eviction-sheddable-filter"
    stage: ClassVar[Stage] = "alpha"
    differs: ClassVar[str] = "It changes nothing: `enableEviction` never cuts off others."


@dataclass(slots=True, frozen=True)
class EvictionPriorityThenTimeOrdering(Setting):
    """The lowest priority is cut off first, of these the newest."""

    type: ClassVar[str] = "eviction-priority-then-time-ordering"
    stage: ClassVar[Stage] = "alpha"
    differs: ClassVar[str] = "It changes nothing: `enableEviction` always goes by this order."


@dataclass(slots=True, frozen=True)
class Band:
    """How much of one priority may wait, and in which order it goes."""

    priority: int = 0
    bytes_max: int = BAND_BYTES_MAX
    requests_max: int = BAND_REQUESTS_MAX
    fairness: FairnessPolicy = GlobalStrictFairnessPolicy()
    ordering: OrderingPolicy = FcfsOrderingPolicy()


@dataclass(slots=True, frozen=True)
class FlowControlConfig:
    """Who waits, how much of it, for how long.

    `enabled` is the feature gate: without it only sheddable requests are refused while the detector says full.
    `bytes_max` and `requests_max` bound all bands together, None is no bound. A TTL of None is none; that of a request
    while there is no endpoint at all may be another. `default_band` is for priorities that are not in `bands`,
    `default_negative_band` for those below 0 where one is given.
    """

    enabled: bool = False
    bytes_max: int | None = None
    requests_max: int | None = None
    request_ttl_s: float | None = REQUEST_TTL_S
    no_endpoint_request_ttl_s: float | None = REQUEST_TTL_S
    default_band: Band = Band()
    default_negative_band: Band | None = None
    bands: tuple[Band, ...] = ()
    usage_limit: UsageLimitPolicy = StaticUsageLimitPolicy()
    detector: Utilization | Concurrency = Utilization()
    evict: bool = False
