"""The section `flowControl` of an `EndpointPickerConfig`, as it was read, and the gate that it asks for.

What is read is told apart by the plugin types that the file names; the reader has checked ranges and filled defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from epp.domain import ConfigError
from epp.flow.build import NEVER_S, Place, llmd_band, llmd_gate, llmd_settings, stale_s
from epp.flow.gate import Gate
from epp.flow.limits import Holdback, SoftReflective, StaticLimit, UsageLimits
from epp.flow.saturation import Concurrency, Saturation, Utilization
from epp.flow.settings import BandSettings, FlowSettings, GatewayTimeouts

PATH = "flowControl"


class Policy(Protocol):
    """A plugin of the file; its parameters are its fields."""

    @property
    def type(self) -> str: ...


class Band(Protocol):
    """One of `priorityBands`, or a default band."""

    @property
    def priority(self) -> int: ...
    @property
    def requests_max(self) -> int: ...
    @property
    def bytes_max(self) -> int: ...
    @property
    def fairness(self) -> Policy: ...
    @property
    def ordering(self) -> Policy: ...


class Section(Protocol):
    """The section. `enabled` is the feature gate `flowControl`; a bound or a TTL of None is none."""

    @property
    def enabled(self) -> bool: ...
    @property
    def requests_max(self) -> int | None: ...
    @property
    def bytes_max(self) -> int | None: ...
    @property
    def request_ttl_s(self) -> float | None: ...
    @property
    def no_endpoint_request_ttl_s(self) -> float | None: ...
    @property
    def default_band(self) -> Band: ...
    @property
    def default_negative_band(self) -> Band | None: ...
    @property
    def bands(self) -> Sequence[Band]: ...
    @property
    def usage_limit(self) -> Policy: ...
    @property
    def detector(self) -> Policy: ...
    @property
    def evict(self) -> bool: ...


def gate_of_section(place: Place, section: Section, scrape_s: float, gateway: GatewayTimeouts) -> Gate:
    """Exactly what the file says; `scrape_s` is how often engines are read. Raises ConfigError with the path."""
    return llmd_gate(
        place,
        flow_control=section.enabled,
        settings=settings_of(section, gateway),
        saturation=_detector(section.detector, scrape_s),
        limits=_limits(section.usage_limit),
    )


def settings_of(section: Section, gateway: GatewayTimeouts) -> FlowSettings:
    """Its bounds and bands. Raises ConfigError with the path."""
    negative = section.default_negative_band
    bands = {b.priority: _band(b, f"{PATH}.priorityBands[{n}]") for n, b in enumerate(section.bands)}
    return llmd_settings(
        max_requests=section.requests_max,
        max_bytes=section.bytes_max,
        default_request_ttl_s=section.request_ttl_s,
        no_endpoint_request_ttl_s=section.no_endpoint_request_ttl_s or NEVER_S,
        default_priority_band=_band(section.default_band, f"{PATH}.defaultPriorityBand"),
        default_negative_priority_band=(
            None if negative is None else _band(negative, f"{PATH}.defaultNegativePriorityBand")
        ),
        priority_bands=bands,
        enable_eviction=section.evict,
        gateway=gateway,
    )


def _band(band: Band, path: str) -> BandSettings:
    try:
        return llmd_band(
            max_requests=band.requests_max,
            max_bytes=band.bytes_max,
            fairness=band.fairness.type,
            ordering=band.ordering.type,
        )
    except ValueError as unknown:
        raise ConfigError(path, str(unknown)) from unknown


def _detector(detector: Any, scrape_s: float) -> Saturation:
    """Samples come every `scrape_s`; a threshold that they could never meet is raised to one that they can."""
    if detector.type == Concurrency.type:
        return Concurrency(
            mode=detector.concurrency_mode,
            requests_max=detector.max_concurrency,
            tokens_max=detector.max_token_concurrency,
            headroom=detector.headroom,
        )
    return Utilization(
        waiting_max=detector.queue_depth_threshold,
        kv_max=detector.kv_cache_util_threshold,
        stale_s=stale_s(detector.metrics_staleness_threshold, scrape_s),
        headroom=detector.headroom,
    )


def _limits(policy: Any) -> UsageLimits:
    made: dict[str, Callable[[], UsageLimits]] = {
        "static-usage-limit-policy": lambda: StaticLimit(policy.threshold),
        "priority-holdback-policy": lambda: Holdback(policy.min_ceiling, policy.max_ceiling, policy.domain),
        "soft-reflective-ceiling-policy": SoftReflective,
    }
    if policy.type not in made:
        raise ConfigError(f"{PATH}.usageLimitPolicyPluginRef", f"{policy.type} is not one of {', '.join(made)}")
    return made[policy.type]()
