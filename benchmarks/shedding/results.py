"""The results as JSON: what `bench sim` writes of each case, and what is particular to a step.

`load` is in parts of the knee, None where the load changes in a step; `bench compare` reads `results`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.shedding import recovery, timeline
from benchmarks.shedding.contenders import named
from benchmarks.shedding.measure import Measured, window_s
from benchmarks.shedding.plan import Case
from benchmarks.sim.report import report
from benchmarks.workloads.stepped import Stepped


def result(case: Case, knee_rps: float, found: Sequence[Measured]) -> dict[str, Any]:
    """One contender at one load, of all seeds."""
    job, contender = case.job, named(case.job.policy, case.job.admission)
    said = {
        "contender": contender.name,
        "title": contender.title,
        **report(job, case.load, knee_rps, [each.run for each in found]),
    }
    if isinstance(job.workload, Stepped):
        lines = [each.timeline for each in found if each.timeline is not None]
        said["step"] = {
            "phases": [{"seconds": phase.seconds, "load": phase.load} for phase in job.workload.phases],
            "window_s": window_s(job, job.workload),
            "within": recovery.WITHIN,
            "recovery_s": [each.run.summary["recovery_s"] if each.run.summary["recovered"] else None for each in found],
            "timeline": timeline.mean(lines),
        }
    return said


def content(cases: Sequence[Case], knee_rps: float, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole file."""
    job, first = cases[0].job, results[0]
    return {
        "benchmark": "shedding",
        "workload": job.workload.name,
        "fleet": first["fleet"],
        "slo": first["slo"],
        "mix": first["mix"],
        "scrape_ms": first["scrape_ms"],
        "knee_rps": knee_rps,
        "requests": first["requests"],
        "seeds": first["seeds"],
        "results": list(results),
    }
