"""The knee is where least-request has 80 % goodput, and is looked for once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.sim import knee, runs
from benchmarks.workloads.generated import Generated, Lengths
from tests.sim import make

WORK = Generated("work", Lengths(4_000, 0.5, least=64, most=9_000), Lengths(20, 0.5, least=1, most=60))
JOB = make.job(WORK, fleet=make.fleet(1), requests=250, policy="default", mix=(0.5, 0.0, 0.5))
pytestmark = pytest.mark.timeout(900)  # half a minute of a processor each, whenever one is free


def test_least_request_has_80_percent_at_the_knee_and_less_above(tmp_path: Path) -> None:
    """Of this job two seeds say too little: its knee is that of as many as are ever asked."""
    rate = knee.find(JOB, 1, lambda line: None, tmp_path)
    probes = [
        replace(JOB, policy="least-request", mix=(0.0, 1.0, 0.0), seed=knee.SEED + n, rate=rate * factor)
        for factor in (1.0, 1.04)
        for n in range(knee.NEAR_SEEDS_MAX)
    ]
    goodputs = [runs.run(probe).summary["goodput"] for probe in probes]

    assert sum(goodputs[: knee.NEAR_SEEDS_MAX]) / knee.NEAR_SEEDS_MAX >= 0.8
    assert sum(goodputs[knee.NEAR_SEEDS_MAX :]) / knee.NEAR_SEEDS_MAX < 0.8


def test_what_was_found_is_kept_until_something_it_depends_on_changes(tmp_path: Path) -> None:
    said: list[str] = []
    found = knee.find(JOB, 1, said.append, tmp_path)
    probes = len(said)
    again = knee.find(
        replace(JOB, policy="random", admission="llm-d-legacy", rate=9.0, seed=7), 1, said.append, tmp_path
    )
    assert (again, len(said)) == (found, probes)
    faster = knee.find(replace(JOB, fleet=make.fleet(2)), 1, said.append, tmp_path)

    assert len(said) > probes
    assert faster > 1.5 * found


def test_a_run_that_has_missed_too_often_is_stopped() -> None:
    job = make.job(rate=4_000.0, policy="random", requests=600)

    assert 5 < runs.misses(job, at_most=5) < 60  # a step may end several
    assert runs.misses(replace(job, rate=5.0), at_most=5) <= 5


def test_a_workload_that_no_rate_can_serve_is_refused(tmp_path: Path) -> None:
    impossible = replace(JOB, slo=replace(JOB.slo, tpot_s=1e-6), requests=20)
    with pytest.raises(knee.NoKnee, match="no knee"):
        knee.find(impossible, 1, lambda line: None, tmp_path)
