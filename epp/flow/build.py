"""Gates ready to use: our own, and those that an `EndpointPickerConfig` asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import Any

from epp.flow.control import Control, Eligible
from epp.flow.gate import Gate, Observer
from epp.flow.limits import StaticLimit, UsageLimits
from epp.flow.own import OwnRule, Reckoning
from epp.flow.rules import LegacyRule, ProbabilisticRule, Rule, SaturationRule
from epp.flow.saturation import Saturation, Utilization
from epp.flow.settings import BandSettings, FlowSettings, GatewayTimeouts, OrderName, ShareName
from epp.flow.ticket import Ledger

NEVER_S = 86_400.0  # the Go picker's "no TTL"; a day, since every wait has an end
SCRAPES = 4  # a sample is stale after so many intervals, as the Go picker's 200 ms are four of its 50 ms
ORDERS: Mapping[str, OrderName] = {  # plugin types
    "fcfs-ordering-policy": "fcfs",
    "edf-ordering-policy": "edf",
    "slo-deadline-ordering-policy": "slo-deadline",
}
SHARES: Mapping[str, ShareName] = {
    "global-strict-fairness-policy": "global-strict",
    "round-robin-fairness-policy": "round-robin",
    "token-fairness-policy": "tokens",
}
LLMD_BYTES_MAX = 10**9
LLMD_REQUESTS_MAX = 5000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gate stands: whose ledger it books in, which endpoints serve what, the clock, and who counts."""

    ledger: Ledger
    eligible: Eligible
    now: Callable[[], float]
    observer: Observer | None = None

    def gate(self, settings: FlowSettings, rule: Rule) -> Gate:
        """A gate here."""
        control = Control(settings=settings, rule=rule, ledger=self.ledger, eligible=self.eligible)
        return Gate(control, self.now, self.observer)


def own_gate(place: Place, settings: FlowSettings, reckoning: Reckoning) -> Gate:
    """OneHop's default: each class up to its pressure, and waits that its SLO allows.

    By the `reckoning` that the choice of an endpoint goes by.
    """
    return place.gate(settings, OwnRule(settings, reckoning))


def llmd_gate(
    place: Place,
    *,
    flow_control: bool,
    settings: FlowSettings | None = None,
    saturation: Saturation | None = None,
    limits: UsageLimits | None = None,
    admitter: Mapping[str, Any] | None = None,
    rng: Random | None = None,
) -> Gate:
    """What an `EndpointPickerConfig` says: with its gate `flowControl`, or the legacy admission without it.

    `admitter` holds the parameters of a probabilistic admitter, None where there is none.
    """
    saturation = saturation or Utilization()
    settings = settings or llmd_settings()
    if not flow_control:
        settings = replace(settings, hold_s=0.0, evict=False)  # without it nobody waits, whatever the section says
    rule: Rule = SaturationRule(saturation, limits or StaticLimit()) if flow_control else LegacyRule(saturation)
    if admitter is not None:
        rule = probabilistic(admitter, rule, rng or Random(), saturation)
    return place.gate(settings, rule)


def probabilistic(
    parameters: Mapping[str, Any], then: Rule, rng: Random, saturation: Saturation | None = None
) -> ProbabilisticRule:
    """The admitter before another rule, with the parameters as they are called in the file. Raises ValueError."""
    watch = saturation or Utilization(
        waiting_max=parameters.get("queueDepthThreshold", 5.0), kv_max=parameters.get("kvCacheUtilThreshold", 0.8)
    )
    return ProbabilisticRule(watch, rng, then, power=parameters.get("power", 5.0), k=parameters.get("k", 300.0))


def llmd_settings(
    *,
    max_requests: int | None = None,
    max_bytes: int | None = None,
    default_request_ttl_s: float | None = 60.0,
    no_endpoint_request_ttl_s: float | None = None,
    default_priority_band: BandSettings | None = None,
    default_negative_priority_band: BandSettings | None = None,
    priority_bands: Mapping[int, BandSettings] | None = None,
    enable_eviction: bool = False,
    gateway: GatewayTimeouts | None = None,
) -> FlowSettings:
    """The section `flowControl`, by the names of its fields. A TTL of 0 is none; that without endpoints is the other's.

    Raises ValueError.
    """
    ttl_s = default_request_ttl_s or NEVER_S
    hold_s = ttl_s if no_endpoint_request_ttl_s is None else (no_endpoint_request_ttl_s or NEVER_S)
    return FlowSettings(
        requests_max=max_requests or 0,
        bytes_max=max_bytes or 0,
        band=default_priority_band or llmd_band(),
        negative_band=default_negative_priority_band,
        bands=MappingProxyType(dict(priority_bands or {})),
        wait_s_max=ttl_s,
        hold_s=hold_s,
        gateway=gateway or GatewayTimeouts(),
        evict=enable_eviction,
    )


def llmd_band(
    *,
    max_requests: int | None = None,
    max_bytes: int | None = None,
    fairness: str = "global-strict-fairness-policy",
    ordering: str = "fcfs-ordering-policy",
) -> BandSettings:
    """One priority band; `fairness` and `ordering` are plugin types. Raises ValueError for one that we do not have."""
    for kind, name, known in (("fairness", fairness, SHARES), ("ordering", ordering, ORDERS)):
        if name not in known:
            raise ValueError(f"{kind} policy must be one of {', '.join(sorted(known))}, not {name}")
    return BandSettings(
        LLMD_REQUESTS_MAX if max_requests is None else max_requests,
        LLMD_BYTES_MAX if max_bytes is None else max_bytes,
        ORDERS[ordering],
        SHARES[fairness],
    )


def stale_s(asked_s: float, scrape_s: float) -> float:
    """A staleness threshold that samples can meet where engines are read every `scrape_s`."""
    return max(asked_s, SCRAPES * scrape_s)
