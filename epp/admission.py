"""The gate of one port, as the flags ask for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from epp.flow.build import Place, llmd_gate, own_gate, stale_s
from epp.flow.gate import Gate
from epp.flow.saturation import Utilization
from epp.flow.settings import FlowSettings, GatewayTimeouts
from epp.picking import Picking
from epp.scheduling.default import reckoner_of
from epp.settings import Settings
from epp.telemetry import Telemetry


def gate_of(settings: Settings, picking: Picking, now: Callable[[], float], telemetry: Telemetry) -> Gate | None:
    """Our own, one of the Go picker's, or none; counted under the pool's name."""
    if settings.admission == "none":
        return None
    pool = picking.pool
    place = Place(pool, picking.eligible, now, telemetry.meter(pool.name))
    if settings.admission == "onehop":
        gate = own_gate(place, flow_settings(settings), reckoning=reckoner_of(picking.profile))
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
