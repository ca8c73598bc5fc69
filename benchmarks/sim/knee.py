"""The knee: the rate at which least-request has 80 % goodput on a workload and fleet; load 1.0 is there.

Where the model is to be chosen, too, it is the pipeline of two hops that has 80 % there.

One standard class, no admission, the mean of seeds of its own. Found by bisection over the rate, which for a trace is
its time scale: with two seeds at first, and where more of them say that this is not it, once more around there with as
many as the mean takes to be known to a point or two. Kept in the user's cache under everything that it depends on. Must
stay true: what is found does not depend on where the search ran.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from math import inf, sqrt
from pathlib import Path
from random import Random
from statistics import fmean, stdev

from benchmarks.sim import mix, runs
from benchmarks.sim.fleet import ENGINE_BLOCK_TOKENS, work_s
from benchmarks.sim.pickers import ALONE
from benchmarks.sim.runs import Job
from benchmarks.workloads.questions import ModelMix

GOODPUT = 0.8
PRECISION = 0.01
STEP = 1.3
FAR = 30.0
SAMPLE = 500
SEED, SEEDS = 1_000_000, 2
NEAR_STEP, NEAR_SEEDS, NEAR_SEEDS_MAX = 1.03, 8, 16
SURE = 0.01
"""Of goodput: what the mean may be off by at the knee; twice as much is a standard error that asks for more seeds."""
MODEL_VERSION = 4
"""Of the replica model, the text and the arrivals: to be raised where a change moves the knee."""


class NoKnee(ValueError):
    """The rate cannot be found."""


def find(job: Job, processes: int, told: Callable[[str], object], cache: Path | None = None) -> float:
    """Requests a second; `cache` is the folder to keep it in. Raises NoKnee."""
    standard = (0.0, 1.0, 0.0)
    probe = replace(job, policy=reference(job), admission="none", mix=standard, seed=SEED, shown=True, crew=ALONE)
    file = (cache or cache_folder()) / f"{_key(probe)}.json"
    try:
        return float(json.loads(file.read_text())["rate"])
    except (OSError, ValueError, KeyError):
        pass
    rate = _search(probe, processes, told)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"rate": rate, "workload": job.workload.name, "fleet": job.fleet.describe()}) + "\n")
    partial.replace(file)
    return rate


def reference(job: Job) -> str:
    """Whose knee it is."""
    return mix.TWO_HOP if isinstance(job.workload, ModelMix) else "least-request"


def cache_folder() -> Path:
    """Where knees are kept: `XDG_CACHE_HOME`, or its default."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onehop" / "knees"


def _search(job: Job, processes: int, told: Callable[[str], object]) -> float:
    """The rate by two seeds, and around there by more if they disagree."""
    rate = _bisect(job, estimate(job), processes, told, step=STEP, seeds=SEEDS)
    each = [missed / of for missed, of in _misses(_seeds(job, rate, NEAR_SEEDS), processes)]
    error = stdev(each) / sqrt(len(each))
    told(f"{rate:.4g} req/s: {1 - fmean(each):.1%} goodput in {len(each)} seeds, standard error {error:.1%}")
    if abs(fmean(each) - (1 - GOODPUT)) <= SURE:
        return rate
    seeds = NEAR_SEEDS if error <= 2 * SURE else NEAR_SEEDS_MAX
    return _bisect(job, rate, processes, told, step=NEAR_STEP, seeds=seeds)


def _bisect(job: Job, begin: float, processes: int, told: Callable[[str], object], *, step: float, seeds: int) -> float:
    """Step out until the knee lies between two rates, then halve (geometrically). Raises NoKnee."""
    low, high, factor = 0.0, inf, step
    rate = begin
    while begin / FAR < rate < begin * FAR:
        missed = _missed(_seeds(job, rate, seeds), processes)
        told(f"{rate:.4g} req/s: " + ("less than 80%" if missed > 1 - GOODPUT else f"{1 - missed:.1%}") + " goodput")
        low, high = (low, rate) if missed > 1 - GOODPUT else (rate, high)
        if high <= low * (1 + PRECISION):
            return float(f"{low:.6g}")
        if low and high < inf:
            rate = sqrt(low * high)
        else:
            rate = low * factor if low else high / factor
            factor *= step
    raise NoKnee(f"{job.workload.name}: no knee was found within {FAR:g} times {begin:.3g} req/s")


def _seeds(job: Job, rate: float, count: int) -> list[Job]:
    return [replace(job, rate=rate, seed=SEED + n) for n in range(count)]


def _missed(jobs: Sequence[Job], processes: int) -> float:
    """The fraction of requests that missed, or one that is too large already."""
    at_most = int((1 - GOODPUT) * sum(map(_measured, jobs)))
    found = _misses(jobs, processes, at_most)
    return sum(missed for missed, _ in found) / sum(of for _, of in found)


def _misses(jobs: Sequence[Job], processes: int, at_most: int | None = None) -> list[tuple[int, int]]:
    """Of each, how many requests missed, of how many that are counted; it is stopped when they are too many."""
    counted = [_measured(each) for each in jobs]
    most = sum(counted) if at_most is None else at_most
    return list(zip(runs.parallel(partial(runs.misses, at_most=most), jobs, processes), counted, strict=True))


def _measured(job: Job) -> int:
    arrivals = len(runs.arrivals_of(job))
    return arrivals - int(arrivals * job.workload.shape.warm_up)


def estimate(job: Job) -> float:
    """Requests a second that the fleet could do if nothing were cached, by the work of each: where a search begins."""
    arrivals = job.workload.arrivals(job.workload.natural_rate, Random(0), SAMPLE)
    total = 0.0
    for kind in job.fleet.replicas:
        config = job.fleet.config(kind, ENGINE_BLOCK_TOKENS)
        total += 1 / fmean(work_s(config, arrival.ask) for arrival in arrivals)
    return float(f"{total:.4g}")


def _key(job: Job) -> str:
    parts = [
        MODEL_VERSION,
        job.workload.identity,
        job.workload.block_tokens,
        asdict(job.fleet),
        asdict(job.slo),
        repr(job.scrape_s),
        job.requests,
    ]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
