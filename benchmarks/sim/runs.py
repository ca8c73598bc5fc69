"""Runs of one policy: a seed each, in parallel processes, and what they say together.

Must stay true: a run depends on its job only (never on the process, the order or `PYTHONHASHSEED`); arrivals and
classes depend on the seed and not on the policy, so runs of two policies can be compared seed by seed.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from random import Random
from typing import Any

from benchmarks.sim.fleet import FleetSpec, Isolated
from benchmarks.sim.policies import ADMISSIONS, maker
from benchmarks.sim.site import CLASSES
from benchmarks.sim.summary import Slo, measured, summarize
from benchmarks.sim.world import Plan, World
from benchmarks.workloads.workload import Workload


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


@dataclass(slots=True, frozen=True)
class Run:
    """What one seed said: of all requests, and by class."""

    seed: int
    summary: dict[str, Any]
    classes: dict[str, dict[str, Any]]


def run(job: Job) -> Run:
    """One run in this process."""
    arrivals = job.workload.arrivals(job.rate, Random(f"arrivals {job.seed}"), job.requests)
    plan = Plan(
        job.fleet,
        job.workload.block_tokens,
        maker(job.policy),
        job.seed,
        job.scrape_s,
        job.mix,
        job.workload.shape,
        ADMISSIONS[job.admission],
    )
    collecting = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()  # a run makes no rubbish that only the collector finds, and looking for it takes a fourth of the time
    try:
        world = World(plan, arrivals)
        flights = measured(world.run(), job.workload.shape.warm_up)
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
    isolated = Isolated(job.fleet).seconds
    summary = summarize(flights, job.slo, isolated)
    summary["preemptions"] = sum(member.preemptions for member in world.members)
    by_class = {
        name: summarize([f for f in flights if f.klass == name], job.slo, isolated)
        for name, share in zip(CLASSES, job.mix, strict=True)
        if share > 0
    }
    return Run(job.seed, summary, by_class)


def run_all(jobs: Sequence[Job], processes: int, told: Callable[[int], object] = lambda done: None) -> list[Run]:
    """Every job's run, in the order of the jobs; `told` is how many are done."""
    done = []
    for each in _runs(jobs, processes):
        done.append(each)
        told(len(done))
    return done


def _runs(jobs: Sequence[Job], processes: int) -> Iterator[Run]:
    if processes <= 1 or len(jobs) <= 1:
        yield from map(run, jobs)
        return
    # Spawned, not forked: a run must not depend on what its parent did before.
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, jobs)


def processes_default() -> int:
    """As many as there are cores for us."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
