"""One run: what `bench sim` says of it, and of a step also when what happened and when it was over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.shedding import recovery
from benchmarks.shedding.timeline import timeline
from benchmarks.sim import batch, runs
from benchmarks.sim.fleet import Isolated
from benchmarks.sim.runs import Job, Run
from benchmarks.sim.summary import measured
from benchmarks.sim.world import World
from benchmarks.workloads.stepped import Stepped

KEPT = ("critical", "standard")
"""The classes by which a fleet is well or not: sheddable requests may be refused in good times, too."""
BINS = 5
"""Of a window."""


@dataclass(slots=True, frozen=True)
class Measured:
    """A run, and of a step its timeline."""

    run: Run
    timeline: dict[str, Any] | None = None


def measure(part: batch.Part) -> Measured:
    """One run in this process."""
    job, path = part
    world, flights = runs.fly(job)
    batch.keep(job, path, flights)
    found = Measured(runs.summarized(job, world, flights))
    return _step(job, job.workload, world, found) if isinstance(job.workload, Stepped) else found


def window_s(job: Job, workload: Stepped) -> float:
    """Seconds of the windows in which recovery is looked for."""
    first = workload.phases[0]
    return recovery.window_s(job.rate * first.load * sum(job.mix[:2]))


def _step(job: Job, workload: Stepped, world: World, found: Measured) -> Measured:
    first, step, last = workload.phases
    window, isolated, flights = window_s(job, workload), Isolated(job.fleet).seconds, world.flights
    met = [job.slo.met(f, isolated(f.ask.prompt_tokens)) for f in flights]
    skipped = len(flights) - len(measured(flights, workload.shape.warm_up))
    counted = zip(flights[skipped:], met[skipped:], strict=True)
    kept = [(f.arrived, fine) for f, fine in counted if f.klass in KEPT]
    # Not those just before the step, which still are there when it comes.
    calm = [fine for at, fine in kept if at < first.seconds - window]
    before = sum(calm) / len(calm)
    ended = first.seconds + step.seconds
    until = min(ended + last.seconds, flights[-1].arrived)
    took = recovery.recovery_s(
        [at for at, _ in kept], [fine for _, fine in kept], before=before, ended=ended, until=until, window=window
    )
    found.run.summary.update(
        before=before, recovered=float(took is not None), recovery_s=until - ended - window if took is None else took
    )
    return Measured(found.run, timeline(flights, met, world.queues, window / BINS))
