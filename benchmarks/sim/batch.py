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
    with TemporaryDirectory(prefix=".runs-", dir=requests_out and requests_out.parent) as folder:
        paths = [Path(folder) / f"{n}.jsonl" if requests_out else None for n in range(len(jobs))]
        done = []
        with shown(len(jobs), lambda: sum(len(runs.arrivals_of(job)) for job in jobs)) as (counter, told):
            parts = list(zip(jobs, paths, strict=True))
            for job, each in zip(jobs, runs.parallel(does, parts, processes, counter), strict=True):
                done.append(each)
                told(label(job))
        if requests_out is not None:
            rows.join([path for path in paths if path is not None], requests_out)
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
    return f"{job.policy} + {job.admission}, {job.workload.name} at {job.rate:.4g} req/s, seed {job.seed}"
