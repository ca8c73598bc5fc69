"""The knee: the rate at which least-request has 80 % goodput on a workload and fleet; load 1.0 is there.

One standard class, no admission, one seed of its own. Found by doubling and then bisection over the rate, which for a
trace is its time scale. Kept in the user's cache under everything that it depends on. Must stay true: what is found
does not depend on where the search ran.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

from benchmarks.sim.runs import Job, run_all

GOODPUT = 0.8
PRECISION = 0.01
DOUBLINGS_MAX = 24
SEED = 1_000_000
MODEL_VERSION = 1
"""Of the replica model, the text and the arrivals: to be raised where a change moves the knee."""


class NoKnee(ValueError):
    """The rate cannot be found."""


def find(job: Job, processes: int, told: Callable[[str], object], cache: Path | None = None) -> float:
    """Requests a second; `cache` is the folder to keep it in. Raises NoKnee."""
    probe = replace(job, policy="least-request", admission="none", mix=(0.0, 1.0, 0.0), seed=SEED)
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


def cache_folder() -> Path:
    """Where knees are kept: `XDG_CACHE_HOME`, or its default."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onehop" / "knees"


def _search(job: Job, processes: int, told: Callable[[str], object]) -> float:
    """Bracket by doubling, then narrow by thirds, with two probes at a time."""

    known: dict[float, bool] = {}

    def passes(*rates: float) -> list[bool]:
        unknown = [rate for rate in rates if rate not in known]
        found = run_all([replace(job, rate=rate) for rate in unknown], processes)
        for rate, each in zip(unknown, found, strict=True):
            goodput = each.summary["goodput"] or 0.0
            known[rate] = goodput >= GOODPUT
            told(f"{rate:.3g} req/s: goodput {goodput:.1%}")
        return [known[rate] for rate in rates]

    low = job.workload.natural_rate
    for _ in range(DOUBLINGS_MAX):
        first, second = passes(low, 2 * low)
        if first and not second:
            break
        low = low * 2 if first else low / 2
    else:
        raise NoKnee(f"{job.workload.name}: no knee was found up to {low:.3g} req/s")
    high = 2 * low
    while high / low > 1 + PRECISION:
        step = (high / low) ** (1 / 3)
        one, two = low * step, low * step * step
        first, second = passes(one, two)
        if not first:
            high = one
        elif not second:
            low, high = one, two
        else:
            low = two
    return float(f"{low:.6g}")


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
