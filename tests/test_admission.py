"""The gate that flags ask for, and what wakes it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from epp.admission import flow_settings, gate_of
from epp.app import App
from epp.configured import Configured
from epp.datastore.pool import Listed
from epp.domain import Cost, Endpoint, Reason, Refused
from epp.flow.gate import Gate
from epp.flow.own import OwnRule
from epp.flow.rules import LegacyRule, ProbabilisticRule, SaturationRule
from epp.options.flow import FlowControlConfig
from epp.picking import Picking
from epp.scheduling.default import default_profile, reckoner_of
from epp.settings import parse
from epp.telemetry import Telemetry
from tests.flow import make
from tests.make import fleet, load, pool

CONFIG = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"


def gate(*flags: str, section: FlowControlConfig | None = None) -> Gate | None:
    over = pool("a")
    settings = parse(["--discovery-file=endpoints.yaml", *flags])
    picking = Picking(over, default_profile(), Random(1))
    return gate_of(settings, picking, lambda: 0.0, Telemetry(fleet(over)), section)


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ((), OwnRule),
        (("--admission=llm-d-legacy",), LegacyRule),
        (("--admission=llm-d-probabilistic",), ProbabilisticRule),
    ],
)
def test_the_flag_says_by_which_rule(flags: tuple[str, ...], rule: type[Any]) -> None:
    made = gate(*flags)

    assert made is not None
    assert isinstance(made.control.rule, rule)


@pytest.mark.parametrize("content", ["", CONFIG, CONFIG + "featureGates: [flowControl]\n"])
def test_any_configuration_file_says_who_is_admitted_so_our_rule_is_never_without_a_reckoning(content: str) -> None:
    configured = Configured.of(
        parse(["--discovery-file=endpoints.yaml", *([f"--config-text={content}"] * bool(content))])
    )

    assert (configured.flow is None) is (not content)
    assert reckoner_of(configured.scheduler()) is not None or configured.flow is not None


def test_no_admission_is_no_gate() -> None:
    assert gate("--admission=none") is None
    assert gate("--admission=none", section=FlowControlConfig()) is None


@pytest.mark.parametrize(
    ("section", "rule"),
    [(FlowControlConfig(), LegacyRule), (FlowControlConfig(enabled=True), SaturationRule)],
)
def test_what_a_configuration_file_says_counts_instead(section: FlowControlConfig, rule: type[Any]) -> None:
    made = gate("--max-message-timeout=7s", section=replace(section, requests_max=3, request_ttl_s=9.0))

    assert made is not None
    assert isinstance(made.control.rule, rule)
    settings = made.control.settings
    assert (settings.requests_max, settings.wait_s_max, settings.gateway.message_s_max) == (3, 9.0, 7.0)
    assert settings.of(0).requests_max == 5000


def test_flags_are_bounds() -> None:
    flags = [
        "--discovery-file=endpoints.yaml",
        "--message-timeout=500ms",
        "--max-message-timeout=0",
        "--queue-timeout=20s",
        "--queue-requests-max=7",
        "--queue-bytes-max=1Mi",
        "--empty-pool-timeout=2m",
        "--slo-ttft=3s",
        "--evict-sheddable",
    ]
    settings = flow_settings(parse(flags))

    assert (settings.requests_max, settings.bytes_max, settings.wait_s_max) == (7, 2**20, 20.0)
    assert (settings.hold_s, settings.slo_ttft_s, settings.evict) == (120.0, 3.0, True)
    assert not settings.gateway.extends
    assert settings.gateway.wait_s(0.1) == pytest.approx(0.3)


async def waits(app: App, made: Gate) -> asyncio.Task[Any]:
    task = asyncio.create_task(made.enter(make.ticket("r", "m")))
    while not len(made):
        await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("event", ["relisted", "visited", "ended"])
async def test_whatever_may_make_room_wakes_those_that_wait(tmp_path: Path, event: str) -> None:
    app = App(parse([f"--discovery-file={tmp_path / 'endpoints.yaml'}"]))
    over = app.fleet.pool("default")
    over.relist([Listed("a", "10.0.0.1:8000")])
    app.fleet.unite()
    (busy,) = app.fleet.all.endpoints
    made = make.gate(app.fleet.all, lambda: asyncio.get_running_loop().time(), make.Slots(1))
    app.fleet.all.on_room = over.on_room  # as the fleet has it, before the test's own gate took it
    app._ports._gates.append(("default", made))
    lease = over.lease(busy, 1)
    waiting = await waits(app, made)

    if event == "relisted":
        over.relist([Listed("a", "10.0.0.1:8000"), Listed("b", "10.0.0.2:8000")])
        app.fleet.unite()
    elif event == "ended":
        lease.close()
    else:
        lease._pool.on_room = lambda: None
        lease.close()
        app._scraper.on_visit()
    await asyncio.wait_for(waiting, 5)

    assert len(made) == 0


def test_what_happens_at_a_gate_is_counted_under_both_names() -> None:
    over = pool("a")
    telemetry = Telemetry(fleet(over))
    settings = parse(["--discovery-file=endpoints.yaml"])
    picking = Picking(over, default_profile(), Random(1))
    made = gate_of(settings, picking, lambda: 0.0, telemetry)
    assert made is not None
    endpoint: Endpoint = over.endpoints[0]
    endpoint.load = load()
    with pytest.raises(StopIteration):
        made.enter(make.ticket("r", "m")).send(None)
    over.lease(endpoint, Cost(1, 1, 100.0))
    with pytest.raises(Refused) as refused:
        made.enter(make.ticket("r", "m", priority=-1)).send(None)
    assert refused.value.reason is Reason.WAIT_TOO_LONG
    value = telemetry.registry.get_sample_value
    name = "flow_control_requests_total"

    for prefix in ("llm_d_epp_", "inference_extension_"):
        dispatched = {"outcome": "Dispatched", "priority": "0", "inference_pool": "default"}
        rejected = {"outcome": "RejectedCapacity", "priority": "-1", "inference_pool": "default"}
        assert (value(prefix + name, dispatched), value(prefix + name, rejected)) == (1, 1)
        saturation = value(f"{prefix}flow_control_pool_saturation", {"inference_pool": "default", "stage": ""})
        assert saturation is not None
        assert saturation > 1
        assert value(f"{prefix}flow_control_stale_endpoints", {"detector": "onehop"}) == 0
    assert value("onehop_shed_total", {"reason": "wait_too_long", "fairness_id": "t", "priority": "-1"}) == 1
    drift = {"name": "default", "model_server_endpoint": endpoint.address}
    assert value("onehop_endpoint_ledger_drift_requests", drift) == 1
