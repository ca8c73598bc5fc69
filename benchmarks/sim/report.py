"""The result of a policy as JSON: means over the seeds, 95 % intervals, and every seed's own numbers.

`intervals` are t-intervals of the means over the seeds, `bootstrap` are bootstrap intervals of the same, for all
requests and for each class; with one seed there are none. A summary's counts are sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from benchmarks.sim.runs import Job, Run
from benchmarks.sim.statistics import bootstrap, interval

TALLIES = ("shed_reasons", "models")
COUNTS = ("offered", "done", "shed", "errors", "preemptions", "retry_after_told")
INTERVALS = (
    *("goodput", "token_goodput", "ttft_mean", "ttft_p99", "tpot_p99", "hit_rate"),
    *("e2e_mean", "quality", "right_in_time", "cost", "spill_share"),
)
FRONTIER = ("quality", "cost", "ttft_mean", "e2e_mean", "goodput")
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
        "pickers": asdict(job.crew),
        "seeds": len(runs),
        "summary": combine([run.summary for run in runs]),
        "classes": {name: combine([run.classes.get(name, {}) for run in runs]) for name in CLASS_NAMES},
        "intervals": intervals([run.summary for run in runs]),
        "bootstrap": {
            "summary": intervals([run.summary for run in runs], bootstrap),
            **{name: intervals([run.classes.get(name, {}) for run in runs], bootstrap) for name in CLASS_NAMES},
        },
        "per_seed": [{"seed": run.seed, **run.summary, "classes": run.classes} for run in runs],
    }


def combine(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds that have a number, sums of counts."""
    keys = dict.fromkeys(key for summary in summaries for key in summary)
    found: dict[str, Any] = {}
    for key in keys:
        values = [s[key] for s in summaries if s.get(key) is not None]
        if key in TALLIES:
            found[key] = dict(sorted(sum(map(Counter, values), Counter()).items()))
        elif key in COUNTS:
            found[key] = sum(values)
        else:
            found[key] = fmean(values) if values else None
    return found


def intervals(
    summaries: Sequence[dict[str, Any]], of: Callable[[Sequence[float]], list[float] | None] = interval
) -> dict[str, list[float] | None]:
    """95 % intervals of the means."""
    told = [key for key in INTERVALS if any(key in summary for summary in summaries)]
    return {key: of([s[key] for s in summaries if s.get(key) is not None]) for key in told}


def with_frontier(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, each with a point for every policy, where answers have a quality. Cost is GPU-seconds an answer."""
    if not all("quality" in result["summary"] for result in results):
        return list(results)
    points = [{"policy": r["policy"], **{key: r["summary"][key] for key in FRONTIER}} for r in results]
    return [{**result, "frontier": points} for result in results]
