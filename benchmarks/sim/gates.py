"""Our own gate, as the composition root builds it, told the objectives that requests are judged by."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.sim.summary import Slo
from epp.flow import build
from epp.flow.gate import Gate
from epp.flow.settings import FlowSettings
from epp.picking import Picking
from epp.scheduling.default import reckoner_of


def flow_of(slo: Slo) -> FlowSettings:
    """The gate's settings under these objectives."""
    return FlowSettings(slo_ttft_s=slo.ttft_s, slo_own_factor=slo.ttft_prefill_factor, slo_tpot_s=slo.tpot_s)


def own_gate(picking: Picking, flow: FlowSettings, now: Callable[[], float]) -> Gate:
    """For a policy that reckons in seconds, which only our own does. Raises ValueError."""
    reckoner = reckoner_of(picking.profile)
    if reckoner is None:
        raise ValueError(f"admission `onehop` needs a policy that reckons in seconds, not {picking.profile.name}")
    return build.own_gate(build.Place(picking.pool, picking.eligible, now), flow, reckoner)
