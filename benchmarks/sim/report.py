"""The result of a policy as JSON: means over the seeds, 95 % intervals, and every seed's own numbers.

An interval is the t-interval of the mean over the seeds; with one seed there is none. A summary's counts are sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from benchmarks.sim.runs import Job, Run

COUNTS = ("offered", "done", "shed", "errors", "preemptions")
INTERVALS = ("goodput", "token_goodput", "ttft_mean", "ttft_p99", "tpot_p99", "hit_rate")
# Student's t, 97.5 %, for 1 to 30 degrees of freedom; beyond them the normal's is near enough.
T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
CLASS_NAMES = ("critical", "standard", "sheddable")


def report(job: Job, load: float | None, knee_rps: float | None, runs: Sequence[Run]) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "policy": job.policy,
        "admission": job.admission,
        "workload": job.workload.name,
        "workload_identity": job.workload.identity,
        "slo": asdict(job.slo),
        "fleet": job.fleet.describe(),
        "rate": job.rate,
        "load": load,
        "knee_rps": knee_rps,
        "mix": list(job.mix),
        "scrape_ms": round(job.scrape_s * 1e3, 3),
        "requests": job.requests,
        "seeds": len(runs),
        "summary": combine([run.summary for run in runs]),
        "classes": {name: combine([run.classes.get(name, {}) for run in runs]) for name in CLASS_NAMES},
        "intervals": intervals([run.summary for run in runs]),
        "per_seed": [{"seed": run.seed, **run.summary, "classes": run.classes} for run in runs],
    }


def combine(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds that have a number, sums of counts."""
    keys = dict.fromkeys(key for summary in summaries for key in summary)
    found: dict[str, Any] = {}
    for key in keys:
        values = [s[key] for s in summaries if s.get(key) is not None]
        if key == "shed_reasons":
            found[key] = dict(sorted(sum(map(Counter, values), Counter()).items()))
        elif key in COUNTS:
            found[key] = sum(values)
        else:
            found[key] = fmean(values) if values else None
    return found


def intervals(summaries: Sequence[dict[str, Any]]) -> dict[str, list[float] | None]:
    """95 % intervals of the means."""
    return {key: interval([s[key] for s in summaries if s.get(key) is not None]) for key in INTERVALS}


def interval(values: Sequence[float]) -> list[float] | None:
    """The t-interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = fmean(values)
    half = T_975[min(len(values) - 1, len(T_975)) - 1] * stdev(values) / sqrt(len(values))
    return [mean - half, mean + half]
