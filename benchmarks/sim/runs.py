"""Runs of one policy: a seed each, in parallel processes, and what they say together.

Must stay true: a run depends on its job only (never on the process, the order or `PYTHONHASHSEED`); arrivals and
classes depend on the seed and not on the policy, so runs of two policies can be compared seed by seed.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from random import Random
from typing import Any, TypeVar

from benchmarks.sim import mix
from benchmarks.sim.fleet import FleetSpec, Isolated
from benchmarks.sim.flight import Flight
from benchmarks.sim.gates import flow_of
from benchmarks.sim.pickers import ALONE, Crew
from benchmarks.sim.policies import ADMISSIONS, OWN_GATE, maker
from benchmarks.sim.progress import Counter
from benchmarks.sim.site import CLASSES
from benchmarks.sim.summary import Slo, measured, summarize
from benchmarks.sim.world import Plan, World
from benchmarks.workloads.questions import ModelMix
from benchmarks.workloads.workload import Arrival, Workload
from epp.scheduling.framework import Profile

S = TypeVar("S")
T = TypeVar("T")
DIGEST = logging.getLogger("epp.digest")


@dataclass(slots=True, frozen=True)
class Job:
    """One run, as plain values; `rate` in requests a second, `requests` at most so many."""

    workload: Workload
    fleet: FleetSpec
    policy: str
    admission: str
    rate: float
    seed: int
    mix: tuple[float, float, float]
    scrape_s: float
    slo: Slo
    requests: int | None = None
    shown: bool = True
    crew: Crew = ALONE


@dataclass(slots=True, frozen=True)
class Run:
    """What one seed said: of all requests, and by class."""

    seed: int
    summary: dict[str, Any]
    classes: dict[str, dict[str, Any]]


def run(job: Job) -> Run:
    """One run in this process."""
    return summarized(job, *fly(job))


def fly(job: Job) -> tuple[World, list[Flight]]:
    """The world when all is over, and all requests in the order of their arrival."""
    counter = _COUNTER[0] if _COUNTER else None

    def count(ended: Flight) -> bool:
        if counter is not None:
            counter.one()
        return False

    world = World(plan_of(job), arrivals_of(job), count)
    with _undisturbed():
        flights = world.run()
    if counter is not None:
        counter.flush()
    return world, flights


def summarized(job: Job, world: World, flights: Sequence[Flight]) -> Run:
    """What a run says that is over."""
    counted = measured(flights, job.workload.shape.warm_up)
    isolated = Isolated(job.fleet).seconds
    summary = summarize(counted, job.slo, isolated)
    summary["preemptions"] = sum(member.preemptions for member in world.members)
    if isinstance(job.workload, ModelMix):
        summary["cost"] = mix.Prices(job.fleet).mean(counted)
    if counted:
        summary.update(world.queues.summary(counted[0].arrived, counted[-1].arrived))
    by_class = {name: summarize([f for f in counted if f.klass == name], job.slo, isolated) for name in CLASSES}
    return Run(job.seed, summary, by_class)


def misses(job: Job, at_most: int) -> int:
    """How many requests of a run do not meet the objectives; it is stopped when these are more than `at_most`."""
    arrivals, isolated, slo = arrivals_of(job), Isolated(job.fleet).seconds, job.slo
    skipped = int(len(arrivals) * job.workload.shape.warm_up)
    missed = 0

    def enough(flight: Flight) -> bool:
        nonlocal missed
        # By the place among arrivals as planned, which is the order in which they come but for turns that wait.
        missed += flight.number >= skipped and not slo.met(flight, isolated(flight.ask.prompt_tokens))
        return missed > at_most

    with _undisturbed():
        World(plan_of(job), arrivals, enough).run()
    return missed


def arrivals_of(job: Job) -> list[Arrival]:
    """The requests of a run."""
    return job.workload.arrivals(job.rate, Random(f"arrivals {job.seed}"), job.requests)


def plan_of(job: Job) -> Plan:
    """What a run is made of."""
    if isinstance(job.workload, ModelMix):
        choosing = mix.find(job.policy)
        chooser, spill = choosing.chooser(mix.briefing(job.workload, job.fleet)), choosing.spill
        return replace(_plan(job, choosing.profile), chooser=chooser, spill=spill)
    return _plan(job, maker(job.policy))


def _plan(job: Job, profile: Callable[[], Profile]) -> Plan:
    return Plan(
        job.fleet,
        job.workload.block_tokens,
        profile,
        job.seed,
        job.scrape_s,
        job.mix,
        job.workload.shape,
        ADMISSIONS[job.admission],
        flow_of(job.slo) if job.admission == OWN_GATE else None,
        job.shown,
        crew=job.crew,
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A run makes no rubbish that only the collector finds, and looking for it takes a fourth of the time.

    Whom the gate refuses is in the results, and not in a log.
    """
    collecting, level = gc.isenabled(), DIGEST.level
    DIGEST.setLevel(logging.ERROR)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        DIGEST.setLevel(level)
        gc.unfreeze()
        if collecting:
            gc.enable()


def parallel(does: Callable[[S], T], given: Sequence[S], processes: int, counter: Counter | None = None) -> Iterator[T]:
    """What a module's function says of each, in their order; `counter` is told of requests that are over."""
    if processes <= 1 or len(given) <= 1:
        _count_with(counter)
        yield from map(does, given)
        return
    # Spawned, not forked: a run must not depend on what its parent did before.
    with ProcessPoolExecutor(
        min(processes, len(given)), mp_context=get_context("spawn"), initializer=_count_with, initargs=(counter,)
    ) as pool:
        yield from pool.map(does, given)


_COUNTER: list[Counter] = []
"""Of this process, where somebody looks on: a number shared between processes can only be given when they start."""


def _count_with(counter: Counter | None) -> None:
    _COUNTER[:] = [] if counter is None else [counter]


def processes_default() -> int:
    """As many as there are cores for us."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
