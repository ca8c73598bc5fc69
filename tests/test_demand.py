"""What autoscalers go by: worked out at the scrape, for each model, refused requests included."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from epp.datastore.pool import Listed, Pool
from epp.domain import Cost, Load, Receipt, Request
from epp.flow.build import Place, own_gate
from epp.flow.gate import Gate
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Key, Ticket
from epp.picking import Picking
from epp.scheduling.framework import Profile
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.reckoner import Reckoner
from epp.telemetry import Telemetry
from epp.telemetry.demand import BUSY_MAX, BUSY_MIN, DRAIN_S, KV_FULL, LOOK_S, WINDOW_S, busy_max
from tests.make import fleet, load, pool, request


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """Two models, `a` on one endpoint and `b` on two, a gate of ours, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pool = pool("a0", "b0", "b1", models={"a0": ["a"], "b0": ["b"], "b1": ["b"]})
        self.telemetry = Telemetry(fleet(self.pool), now=self.clock, slo_ttft_s=2.0)
        picking = Picking(self.pool, Profile("test", picker=MaxScorePicker()), Random(1))
        place = Place(self.pool, picking.eligible, self.clock, self.telemetry.meter(self.pool.name))
        self.gate: Gate = own_gate(place, FlowSettings(), Reckoner())
        self.telemetry.watch(self.pool.name, self.gate)

    def value(self, metric: str, model: str, **labels: str) -> float | None:
        where = {"inference_pool": self.pool.name, "model": model, **labels}
        return self.telemetry.registry.get_sample_value(metric, where)

    def send(self, model: str, work_s: float, count: int = 1) -> None:
        address = next(e.address for e in self.pool.endpoints if model in (e.serves or {}))
        for _ in range(count):
            parts = {"id": "i", "request_id": "r", "time": 0.0, "path": "/v1", "asked_model": model, "model": model}
            self.telemetry.decided(Receipt(**parts, picked=address, work_s=work_s))

    def wait(self, model: str, tokens: int) -> Ticket:
        """One that waits at the gate."""
        asked = asks(model, tokens)
        ticket = Ticket(asked, Key(frozenset({model})), self.clock.now, slo_s=600.0)
        for endpoint in self.pool.endpoints:
            self.pool.lease(endpoint, Cost(10**6, 10**6, work_s=20.0), now=self.clock.now)
        self.gate.control.arrive(ticket, self.clock.now)
        assert ticket.waits
        return ticket


def asks(model: str, tokens: int) -> Request:
    made = request(model, prompt_tokens=tokens)
    made.target = model
    return made


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_saturation_is_told_by_model(watched: Watched) -> None:
    busy = watched.pool.endpoints[1]
    watched.pool.lease(busy, Cost(0, 0, work_s=2.0), now=watched.clock.now)

    settings = FlowSettings()
    expected = 2.0 / settings.pressure_s / 2 / settings.standard.ceiling  # one of two has 2 s of prefill to do
    assert watched.value("onehop_model_saturation", "a") == 0
    assert watched.value("onehop_model_saturation", "b") == pytest.approx(expected) != 0


def test_what_waits_is_told_by_model_and_place(watched: Watched) -> None:
    watched.wait("b", tokens=700)
    watched.pool.endpoints[0].load = load(waiting=3)

    assert watched.value("onehop_queued_tokens", "b", where="gate") == 700
    assert watched.value("onehop_queued_requests", "b", where="gate") == 1
    assert watched.value("onehop_queued_requests", "a", where="gate") == 0
    assert watched.value("onehop_queued_requests", "a", where="endpoint") == 3
    assert watched.value("onehop_queued_tokens", "a", where="endpoint") == 10**6


def test_replicas_wanted_follow_the_work_that_is_asked_for(watched: Watched) -> None:
    for _ in range(6):
        watched.send("b", work_s=0.2, count=50)
        watched.clock.now += 10.0  # one second of prefill each second

    wanted = watched.value("onehop_replicas_wanted", "b")
    assert wanted == pytest.approx(1.0 / busy_max(0.2, 2.0), rel=0.01)
    assert watched.value("onehop_replicas_wanted", "a") == 0


def test_demand_is_that_of_the_last_minute(watched: Watched) -> None:
    watched.send("b", work_s=1.0, count=100)
    for _ in range(int(WINDOW_S) + 2):
        watched.clock.now += LOOK_S
        watched.value("onehop_replicas_wanted", "b")

    assert watched.value("onehop_replicas_wanted", "b") == 0


def test_refused_requests_are_demand(watched: Watched) -> None:
    ticket = Ticket(asks("a", 1000), Key(frozenset({"a"})), 100.0)
    ticket.own_s = 3.0
    watched.telemetry.meter("p").passed(ticket, "wait_too_long", 0.0)
    watched.clock.now += 10.0
    refused = watched.value("onehop_replicas_wanted", "a")
    watched.telemetry.meter("p").passed(ticket, "cancelled", 0.0)

    assert refused == pytest.approx(0.3 / BUSY_MIN, rel=0.2)
    assert watched.value("onehop_replicas_wanted", "a") == refused


def test_what_waits_is_to_be_worked_off_soon(watched: Watched) -> None:
    ticket = watched.wait("b", tokens=100_000)
    watched.clock.now += 1.0

    assert watched.value("onehop_replicas_wanted", "b") == pytest.approx(ticket.own_s / DRAIN_S / BUSY_MAX)


def test_a_model_without_endpoints_is_wanted_once_somebody_waits(watched: Watched) -> None:
    ticket = watched.wait("b", tokens=10)
    watched.pool.relist([Listed("a0", "10.0.0.0:8000")])

    assert ticket.waits
    (found,) = [
        sample
        for family in watched.telemetry.registry.collect()
        for sample in family.samples
        if sample.name == "onehop_replicas_wanted" and sample.labels["model"] != "a"
    ]
    assert found.value >= 1


def test_long_contexts_want_endpoints_for_their_cache(watched: Watched) -> None:
    for endpoint in watched.pool.endpoints:
        endpoint.load = Load(at=100.0, block_size=16, num_blocks=1000)
    watched.pool.lease(watched.pool.endpoints[1], Cost(0, 36_000), now=100.0)

    assert watched.value("onehop_replicas_wanted", "b") == pytest.approx(36_000 / (KV_FULL * 16_000))


def test_where_the_cache_size_is_not_told_our_part_of_its_use_counts(watched: Watched) -> None:
    endpoint = watched.pool.endpoints[0]
    endpoint.load = replace(load(running=4, kv_usage=0.9), at=100.0)
    watched.pool.lease(endpoint, Cost(), now=100.0)

    assert watched.value("onehop_replicas_wanted", "a") == pytest.approx(0.25)


@pytest.mark.parametrize(("mean_s", "busy"), [(0.0, BUSY_MAX), (2 / 3, 0.5), (100.0, BUSY_MIN)])
def test_longer_prompts_leave_more_time_idle(mean_s: float, busy: float) -> None:
    assert busy_max(mean_s, 2.0) == pytest.approx(busy)


def test_an_empty_pool_wants_nothing() -> None:
    telemetry = Telemetry(fleet(Pool()))

    assert b"onehop_replicas_wanted{" not in telemetry.text()
