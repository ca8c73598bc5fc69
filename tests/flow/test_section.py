"""What a configuration file says of flow control is what the gate does."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace as Plugin
from typing import Any

import pytest

from epp.domain import ConfigError, Refused
from epp.flow.build import NEVER_S
from epp.flow.rules import LegacyRule, SaturationRule
from epp.flow.section import gate_of_section, settings_of
from epp.flow.settings import GatewayTimeouts
from tests.flow import make
from tests.make import load, pool

UTILIZATION = Plugin(
    type="utilization-detector",
    queue_depth_threshold=5,
    kv_cache_util_threshold=0.8,
    metrics_staleness_threshold=0.2,
    headroom=0.0,
)
CONCURRENCY = Plugin(
    type="concurrency-detector",
    concurrency_mode="requests",
    max_concurrency=2,
    max_token_concurrency=1000,
    headroom=0.0,
)


@dataclass
class Band:
    priority: int = 0
    bytes_max: int = 10**9
    requests_max: int = 5000
    fairness: Any = field(default_factory=lambda: Plugin(type="global-strict-fairness-policy"))
    ordering: Any = field(default_factory=lambda: Plugin(type="fcfs-ordering-policy"))


@dataclass
class Section:
    enabled: bool = True
    bytes_max: int | None = None
    requests_max: int | None = None
    request_ttl_s: float | None = 60.0
    no_endpoint_request_ttl_s: float | None = 60.0
    default_band: Band = field(default_factory=Band)
    default_negative_band: Band | None = None
    bands: tuple[Band, ...] = ()
    usage_limit: Any = field(default_factory=lambda: Plugin(type="static-usage-limit-policy", threshold=1.0))
    detector: Any = field(default_factory=lambda: UTILIZATION)
    evict: bool = False


def gate(section: Section, **more: Any) -> Any:
    return gate_of_section(make.place(more.get("over") or pool("a"), lambda: 0.0), section, 0.05, GatewayTimeouts())


def test_the_defaults_are_the_go_pickers() -> None:
    settings = settings_of(Section(), GatewayTimeouts())

    assert (settings.requests_max, settings.bytes_max) == (0, 0)
    assert (settings.wait_s_max, settings.hold_s, settings.evict) == (60.0, 60.0, False)
    band = settings.of(7)
    assert (band.requests_max, band.bytes_max, band.order, band.share) == (5000, 10**9, "fcfs", "global-strict")


def test_bands_and_bounds_are_those_of_the_file() -> None:
    high = Band(9, 10, 20, Plugin(type="round-robin-fairness-policy"), Plugin(type="edf-ordering-policy"))
    low = Band(0, 30, 40, ordering=Plugin(type="slo-deadline-ordering-policy"))
    settings = settings_of(
        Section(
            bytes_max=1000, requests_max=50, bands=(high,), default_negative_band=low, request_ttl_s=None, evict=True
        ),
        GatewayTimeouts(),
    )

    assert (settings.requests_max, settings.bytes_max, settings.wait_s_max) == (50, 1000, NEVER_S)
    assert settings.of(9).share == "round-robin"
    assert (settings.of(9).requests_max, settings.of(9).bytes_max, settings.of(9).order) == (20, 10, "edf")
    assert (settings.of(-3).order, settings.of(3).order) == ("slo-deadline", "fcfs")
    assert settings.evict


def test_without_the_gate_nobody_waits_and_nobody_is_cut_off() -> None:
    made = gate(Section(enabled=False, evict=True))

    assert isinstance(made.control.rule, LegacyRule)
    assert (made.control.settings.hold_s, made.control.settings.evict) == (0.0, False)


def test_the_detector_and_its_limit_are_those_of_the_file() -> None:
    over = pool("a")
    limit = Plugin(type="priority-holdback-policy", min_ceiling=0.5, max_ceiling=1.0, domain="rank")
    rule = gate(Section(detector=CONCURRENCY, usage_limit=limit), over=over).control.rule
    assert isinstance(rule, SaturationRule)
    rule.room(make.ticket(priority=5), over.endpoints, 0.0)
    over.lease(over.endpoints[0], 1)

    assert rule.room(make.ticket(priority=5), over.endpoints, 0.0) is None
    assert rule.room(make.ticket(priority=-5), over.endpoints, 0.0) == ()


def test_samples_are_not_called_stale_for_coming_as_often_as_they_do() -> None:
    over = pool("a")
    over.endpoints[0].load = load(at=-1.0, waiting=50)
    slow = gate_of_section(make.place(over, lambda: 0.0), Section(), 0.5, GatewayTimeouts())

    assert (slow.fullness(), slow.stale()) == (10.0, 0)
    assert (gate(Section(), over=over).fullness(), gate(Section(), over=over).stale()) == (0.0, 1)


@pytest.mark.parametrize(
    ("section", "path"),
    [
        (Section(default_band=Band(fairness=Plugin(type="program-aware-fairness"))), "flowControl.defaultPriorityBand"),
        (Section(bands=(Band(), Band(ordering=Plugin(type="lifo")))), "flowControl.priorityBands[1]"),
        (Section(usage_limit=Plugin(type="mine")), "flowControl.usageLimitPolicyPluginRef"),
    ],
)
def test_what_is_not_here_is_refused_by_its_path(section: Section, path: str) -> None:
    with pytest.raises(ConfigError) as mistake:
        gate(section)

    assert mistake.value.path == path


def test_the_gate_does_what_the_section_says() -> None:
    over = pool("a")
    made = gate(Section(detector=CONCURRENCY, requests_max=1), over=over)
    leases = [over.lease(over.endpoints[0], 1) for _ in range(2)]
    first = make.ticket("1")
    made.control.arrive(first, 0.0)
    assert first.waits
    with pytest.raises(Refused, match="too many requests wait"):
        made.control.arrive(make.ticket("2"), 0.0)
    leases[0].close()

    assert made.control.release(0.0) == [first]
