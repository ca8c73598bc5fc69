"""The gate of one port, as the flags ask for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from epp.flow.build import Place, llmd_gate, own_gate, stale_s
from epp.flow.gate import Gate
from epp.flow.saturation import Utilization
from epp.flow.section import gate_of_section
from epp.flow.settings import FlowSettings, GatewayTimeouts
from epp.options.flow import FlowControlConfig
from epp.picking import Picking
from epp.scheduling.default import reckoner_of
from epp.settings import Settings
from epp.telemetry import Telemetry


def gate_of(
    settings: Settings,
    picking: Picking,
    now: Callable[[], float],
    telemetry: Telemetry,
    section: FlowControlConfig | None = None,
) -> Gate | None:
    """Our own, one of the Go picker's, or none; counted under the pool's name.

    A configuration file's `section` is what counts where there is one, unless there is to be no gate at all.
    """
    if settings.admission == "none":
        return None
    pool = picking.pool
    place = Place(pool, picking.eligible, now, telemetry.meter(pool.name))
    if section is not None:
        timeouts = GatewayTimeouts(settings.message_timeout, settings.max_message_timeout)
        gate = gate_of_section(place, section, settings.refresh_metrics_interval, timeouts)
    elif settings.admission == "onehop":
        reckoner = reckoner_of(picking.profile)
        assert reckoner is not None, "without a file, which always has a section, the profile is the default one"
        gate = own_gate(place, flow_settings(settings), reckoner)
    else:
        watch = Utilization(stale_s=stale_s(Utilization().stale_s, settings.refresh_metrics_interval))
        admitter: dict[str, float] | None = {} if settings.admission == "llm-d-probabilistic" else None
        gate = llmd_gate(place, flow_control=False, saturation=watch, admitter=admitter)
    telemetry.watch(pool.name, gate)
    return gate


def flow_settings(settings: Settings) -> FlowSettings:
    """The flags of flow control in one value. Raises ValueError for what contradicts itself."""
    return replace(
        FlowSettings(),
        requests_max=settings.queue_requests_max,
        bytes_max=settings.queue_bytes_max,
        wait_s_max=settings.queue_timeout,
        hold_s=settings.empty_pool_timeout,
        slo_ttft_s=settings.slo_ttft,
        evict=settings.evict_sheddable,
        gateway=GatewayTimeouts(settings.message_timeout, settings.max_message_timeout),
    )
