"""Builders for tests of the simulation: small fleets, small workloads."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from benchmarks.sim.fleet import FleetSpec
from benchmarks.sim.flight import Flight
from benchmarks.sim.policies import maker
from benchmarks.sim.runs import Job
from benchmarks.sim.summary import Slo
from benchmarks.sim.world import Plan, World
from benchmarks.workloads.generated import Generated, Lengths
from benchmarks.workloads.workload import PLAIN, Arrival, Ask, Shape, Workload

CHAT = Generated(
    "chat", Lengths(600, 1.0, least=8, most=6_000), Lengths(40, 0.8, least=1, most=300), topics=9, topic_tokens=1_024
)


def fleet(replicas: int = 3, gpu: str = "h100", sequences_max: int | None = None) -> FleetSpec:
    parsed = FleetSpec.parse("llama3-8b", gpu, replicas)
    return FleetSpec(parsed.model, parsed.kinds, sequences_max)


def job(workload: Workload = CHAT, policy: str = "default", **more: object) -> Job:
    """A run of 300 requests on three replicas."""
    given: dict[str, object] = {
        "workload": workload,
        "fleet": fleet(),
        "policy": policy,
        "admission": "none",
        "rate": 40.0,
        "seed": 0,
        "mix": (0.0, 1.0, 0.0),
        "scrape_s": 0.05,
        "slo": Slo(),
        "requests": 300,
        **more,
    }
    return Job(**given)  # type: ignore[arg-type]  # the names are those of the fields


def world(
    arrivals: Sequence[Arrival], policy: str = "least-request", *, spec: FleetSpec | None = None, **more: object
) -> World:
    plan = {"fleet": spec or fleet(), "block_tokens": 64, "profile": maker(policy), "seed": 0, **more}
    return World(Plan(**plan), arrivals)  # type: ignore[arg-type]  # likewise


def arrivals(rate: float = 40.0, requests: int = 300, seed: int = 0) -> list[Arrival]:
    return CHAT.arrivals(rate, Random(seed), requests)


def alone(tokens: int, output: int = 1, at: float = 0.0, number: int = 0) -> Arrival:
    """A prompt that shares nothing."""
    begin = (1 << 50) + number * (1 << 16)
    return Arrival(at, Ask(tokens, output, tuple(range(begin, begin + -(-tokens // 64)))))


def shape(**more: object) -> Shape:
    return Shape(**more) if more else PLAIN  # type: ignore[arg-type]  # likewise


def ends(flights: Sequence[Flight]) -> dict[str, int]:
    """How many ended how."""
    found: dict[str, int] = {}
    for flight in flights:
        found[flight.end] = found.get(flight.end, 0) + 1
    return found
