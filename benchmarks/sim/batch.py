"""Many runs as a command makes them: in parallel, with progress on standard error, every request kept if asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from benchmarks.sim import rows, runs
from benchmarks.sim.fleet import Isolated
from benchmarks.sim.flight import Flight
from benchmarks.sim.progress import shown
from benchmarks.sim.runs import Job, Run

T = TypeVar("T")
Part = tuple[Job, Path | None]
"""A job, and a file of its own for its requests."""


def all_of(does: Callable[[Part], T], jobs: Sequence[Job], processes: int, requests_out: Path | None = None) -> list[T]:
    """What a module's function says of each job, in their order; `requests_out` has the requests of all."""
    if requests_out is None:
        return _told(does, [(job, None) for job in jobs], processes)
    with TemporaryDirectory(prefix=".runs-", dir=requests_out.parent) as folder:
        parts = [(job, Path(folder) / f"{n}.jsonl") for n, job in enumerate(jobs)]
        done = _told(does, parts, processes)
        rows.join([path for _, path in parts], requests_out)
    return done


def _told(does: Callable[[Part], T], parts: Sequence[Part], processes: int) -> list[T]:
    done = []
    with shown(len(parts), lambda: sum(len(runs.arrivals_of(job)) for job, _ in parts)) as (counter, told):
        for (job, _), each in zip(parts, runs.parallel(does, parts, processes, counter), strict=True):
            done.append(each)
            told(label(job))
    return done


def run(part: Part) -> Run:
    """One run in this process."""
    job, path = part
    world, flights = runs.fly(job)
    keep(job, path, flights)
    return runs.summarized(job, world, flights)


def keep(job: Job, path: Path | None, flights: Sequence[Flight]) -> None:
    """Write the requests of a run, where there is a file for them."""
    if path is not None:
        of = {
            "policy": job.policy,
            "admission": job.admission,
            "workload": job.workload.name,
            "rate": job.rate,
            "seed": job.seed,
        }
        shape, isolated = job.workload.shape, Isolated(job.fleet).seconds
        rows.write(path, of, flights, warm_up=shape.warm_up, slo=job.slo, isolated=isolated)


def label(job: Job) -> str:
    """What progress calls a run."""
    crew = f", {job.crew}" if job.crew.count > 1 else ""
    return f"{job.policy} + {job.admission}, {job.workload.name} at {job.rate:.4g} req/s{crew}, seed {job.seed}"
