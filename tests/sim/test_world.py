"""One run: what goes in comes out once, the ledger is right at every moment, and a seed says it all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.sim import runs
from benchmarks.sim.gates import flow_of
from benchmarks.sim.policies import ADMISSIONS, names
from benchmarks.sim.summary import Slo
from benchmarks.sim.world import World
from benchmarks.workloads.catalogue import ADAPTERS, FAILING, RISING, SLOW, WARM_UP_S
from benchmarks.workloads.workload import Arrival, Ask
from tests.sim import make

HASHED = """
import json, sys
from benchmarks.sim import runs
from benchmarks.sim.gates import flow_of
from tests.sim import make
found = runs.run(make.job(policy=sys.argv[1], requests=120, mix=(0.2, 0.5, 0.3)))
print(json.dumps([found.summary, found.classes], sort_keys=True))
"""


def check(world: World) -> None:
    """What must hold after every event."""
    ended = sum(flight.end != "open" for flight in world.flights)
    waiting = sum(flight.end == "open" and flight.routed is None for flight in world.flights)
    flying = world.course.flying
    assert len(world.flights) == ended + waiting + len(flying)
    assert waiting == 0 or world.plan.flow is not None
    by_member = {member.name: 0 for member in world.members}
    for flight in flying.values():
        by_member[flight.member] += 1
    for member in world.members:
        assert member.replica.in_flight == by_member[member.name] or not member.alive
        if member.endpoints and member.alive:
            own = [f for f in flying.values() if f.member == member.name]
            assert sum(e.inflight_requests for e in member.endpoints) == len(own)
            waiting = [f for f in own if f.first_token is None]
            assert (sum(e.inflight_tokens for e in member.endpoints) > 0) <= bool(waiting)
            assert member.replica.scheduler.cache.pool.usage <= 1.0


@pytest.mark.parametrize("policy", names())
def test_every_arrival_ends_once_and_the_ledger_is_right_after_every_event(policy: str) -> None:
    world = make.world(make.arrivals(requests=150), policy)
    world.loop.after_each = lambda: check(world)
    flights = world.run()

    assert make.ends(flights) == {"done": 150}
    endpoints = world.pickers[0].pool.endpoints
    assert all(e.inflight_requests == e.inflight_tokens == e.context_tokens == 0 for e in endpoints)
    assert all(member.replica.in_flight == 0 for member in world.members)


def test_nothing_is_lost_when_replicas_die_and_come_back() -> None:
    world = make.world(make.arrivals(rate=60, requests=900), "default", shape=make.shape(happenings=FAILING))
    world.loop.after_each = lambda: check(world)
    flights = world.run()

    ended = make.ends(flights)
    assert ended["done"] + ended["error"] == 900
    assert {f.reason for f in flights if f.end == "error"} <= {"cut off", "no answer", "connection refused"}
    assert 0 < ended["error"] < 200
    assert {f.member for f in flights[-100:]} == {member.name for member in world.members}
    assert all(e.inflight_requests == 0 for e in world.pickers[0].pool.endpoints)


def test_a_pool_without_replicas_refuses_until_the_first_is_there() -> None:
    world = make.world(make.arrivals(rate=20), "default", shape=make.shape(happenings=RISING, absent=True))
    flights = world.run()

    shed = [f for f in flights if f.end == "shed"]
    assert {f.reason for f in shed} == {"no_endpoints"}
    assert max(f.arrived for f in shed) < 10.0 <= min(f.arrived for f in flights if f.end == "done")


def test_a_slow_replica_answers_later() -> None:
    slow = make.shape(happenings=SLOW[:1])  # the second replica, by three, for good
    flights = make.world(
        [make.alone(4_000, 50, at=i * 5.0, number=i) for i in range(100)], "round-robin", shape=slow
    ).run()

    late = [f.ttft_s for f in flights[60:] if f.member == "h100-1"]
    others = [f.ttft_s for f in flights[60:] if f.member != "h100-1"]
    assert min(t for t in late if t) > 2.5 * max(t for t in others if t)


def test_a_replica_that_has_just_come_is_slower_until_it_is_warm() -> None:
    alone = [make.alone(4_000, 50, at=11.0 + i * 3.0, number=i) for i in range(20)]
    flights = make.world(alone, "round-robin", shape=make.shape(happenings=RISING, absent=True)).run()

    cold = [f.ttft_s for f in flights if f.member == "h100-0" and f.arrived < 10.0 + WARM_UP_S]
    warm = [f.ttft_s for f in flights if f.member == "h100-0" and f.arrived > 10.0 + WARM_UP_S]
    assert cold
    assert warm
    assert min(t for t in cold if t) > 1.3 * max(t for t in warm if t)


def test_a_turn_waits_for_the_answer_before_it() -> None:
    first = make.alone(2_000, 200)
    second = Arrival(0.1, Ask(2_300, 5, first.ask.blocks), after=0, gap_s=0.1)
    one, other = make.world([first, second]).run()

    assert one.ended is not None
    assert other.arrived == one.ended > 0.1


def test_a_request_that_no_cache_can_hold_is_an_error() -> None:
    (flight,) = make.world([make.alone(40_000)], spec=make.fleet(1, gpu="l4")).run()

    assert (flight.end, flight.reason, flight.ttft_s) == ("error", "too long", None)


def test_adapters_are_models_of_their_own() -> None:
    asks = [Arrival(i * 0.01, Ask(100, 5, (i * 10, i * 10 + 1), adapter=ADAPTERS[i % 6])) for i in range(60)]
    world = make.world(asks, "default", shape=make.shape(adapters=ADAPTERS))
    flights = world.run()

    assert make.ends(flights) == {"done": 60}


def test_a_policy_with_affinity_hits_the_cache_and_one_without_does_not() -> None:
    hits = {}
    for policy in ("round-robin", "default"):
        found = runs.run(make.job(policy=policy, rate=15.0))
        hits[policy] = found.summary["hit_rate"]

    assert hits["default"] > hits["round-robin"] > 0


def test_cached_tokens_are_the_engines_truth() -> None:
    ask = make.alone(6_400, 5).ask
    known = Ask(ask.prompt_tokens, ask.output_tokens, ask.blocks, ask.blocks)
    one, other = make.world([Arrival(0.0, known), Arrival(5.0, known)], spec=make.fleet(1)).run()

    assert (one.cached_tokens, other.cached_tokens) == (0, 6_400 - 64)


@pytest.mark.parametrize("admission", [name for name in ADMISSIONS if name.startswith("llm-d")])
def test_baseline_admission_sheds_only_what_may_be_shed(admission: str) -> None:
    found = runs.run(
        make.job(policy="least-request", admission=admission, rate=400.0, requests=900, mix=(0.2, 0.5, 0.3))
    )

    assert found.classes["sheddable"]["shed"] > 0
    assert found.classes["critical"]["shed"] == found.classes["standard"]["shed"] == 0
    assert found.summary["shed_reasons"] == {"saturated": found.summary["shed"]}


def test_our_own_gate_lets_requests_wait_and_sheds_from_below() -> None:
    mix, waited = (0.2, 0.5, 0.3), 0
    world = make.world(make.arrivals(rate=300, requests=1_200), "default", mix=mix, flow=flow_of(Slo()))

    def look() -> None:
        nonlocal waited
        check(world)
        waited = max(waited, sum(f.end == "open" and f.routed is None for f in world.flights))

    world.loop.after_each = look
    flights = world.run()

    assert waited > 0
    assert all(e.inflight_requests == e.inflight_tokens == 0 for e in world.pickers[0].pool.endpoints)
    shed = {
        name: [f.end == "shed" for f in flights if f.klass == name] for name in ("critical", "standard", "sheddable")
    }
    shares = {name: sum(ended) / len(ended) for name, ended in shed.items()}
    assert shares["critical"] <= shares["standard"] < shares["sheddable"]


def test_one_seed_says_it_all_and_another_says_something_else() -> None:
    same = [runs.run(make.job(seed=3)) for _ in range(2)]
    other = runs.run(make.job(seed=4))

    assert same[0] == same[1]
    assert other.summary["ttft_mean"] != same[0].summary["ttft_mean"]


def test_arrivals_and_classes_of_a_seed_are_the_same_for_every_policy() -> None:
    mix = (0.3, 0.3, 0.4)
    one, other = (make.world(make.arrivals(), policy, mix=mix) for policy in ("random", "lmetric"))

    assert [(f.arrived, f.klass, f.ask) for f in one.run()] == [(f.arrived, f.klass, f.ask) for f in other.run()]


@pytest.mark.parametrize("policy", ["default", "llm-d-default"])
def test_results_do_not_depend_on_the_hash_seed(policy: str) -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", HASHED, policy],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(said) == 1
