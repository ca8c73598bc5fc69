"""The runs: every contender at every load with the same requests, and through one step of load, from the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from random import Random

from benchmarks.shedding.contenders import CONTENDERS, Contender
from benchmarks.shedding.recovery import window_s
from benchmarks.sim.runs import Job
from benchmarks.workloads.catalogue import NOISY
from benchmarks.workloads.generated import Generated
from benchmarks.workloads.shared_prefix import SharedPrefix
from benchmarks.workloads.stepped import Phase, Stepped
from benchmarks.workloads.tenants import Tenanted
from benchmarks.workloads.workload import Workload

MIX = (0.2, 0.5, 0.3)
LOADS = (0.5, 1.0, 1.5, 2.0, 3.0)
CALM, HIGH = 0.75, 3.0
"""Parts of the knee before and after the step, and in it."""
BEFORE, AFTER = 1.0, 4.0
"""Lengths of a step that is looked at before it and after it."""
STEP_S, STEP_WINDOWS = 30.0, 5
"""The least length of a step, in seconds and in windows of recovery."""


@dataclass(slots=True, frozen=True)
class Case:
    """One contender at one load; `load` None: through the step. The seeds' jobs differ in the seed only."""

    load: float | None
    job: Job


def tenanted(workload: Workload) -> Tenanted:
    """Twenty tenants, one of which sends half, where the workload has none of its own."""
    return Tenanted(workload, NOISY)


def cases(
    job: Job,
    loads: Sequence[float],
    knee_rps: float,
    step_s: float | None = None,
    contenders: Sequence[Contender] = CONTENDERS,
) -> list[Case]:
    """All of them; `job` says everything but contender, load and seed. Raises ValueError.

    Without `step_s` a step is as long as recovery takes to be seen.
    """
    found = [Case(load, replace(job, rate=load * knee_rps)) for load in loads]
    found.append(Case(None, replace(job, workload=_step(job, knee_rps, step_s), rate=knee_rps, requests=None)))
    return [
        replace(case, job=replace(case.job, policy=each.policy, admission=each.admission))
        for case in found
        for each in contenders
    ]


def _step(job: Job, knee_rps: float, step_s: float | None) -> Stepped:
    window = window_s(CALM * knee_rps * sum(job.mix[:2]))
    if step_s is None:
        step_s = max(STEP_S, STEP_WINDOWS * window)
    wanted = ceil(_phases(job.workload, step_s).weight * knee_rps)
    workload = _as_long(job.workload, wanted)
    has = len(workload.arrivals(knee_rps, Random(0), wanted))
    step_s *= min(1.0, has / wanted)  # a trace has so many requests and no more
    if step_s / 2 <= window:
        raise ValueError(f"a step of {step_s:.0f} s is too short to see recovery in windows of {window:.0f} s")
    step = _phases(workload, step_s)
    step.arrivals(knee_rps, Random(0))  # says so where that cannot be
    return step


def _phases(workload: Workload, step_s: float) -> Stepped:
    return Stepped(workload, (Phase(BEFORE * step_s, CALM), Phase(step_s, HIGH), Phase(AFTER * step_s, CALM)))


def _as_long(workload: Workload, requests: int) -> Workload:
    """A generator makes as many requests as are wanted; a trace is as long as it is."""
    if isinstance(workload, Tenanted):
        return replace(workload, inner=_as_long(workload.inner, requests))
    if isinstance(workload, Generated | SharedPrefix):
        return replace(workload, requests=requests)
    return workload
