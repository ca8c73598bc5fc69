"""`onehop bench sim`: from its arguments to runs, a table and JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from math import inf
from pathlib import Path

from benchmarks.sim import batch, knee, mix, policies
from benchmarks.sim.fleet import FleetSpec
from benchmarks.sim.pickers import SHARINGS, Crew
from benchmarks.sim.report import report, with_frontier
from benchmarks.sim.runs import Job, plan_of, processes_default
from benchmarks.sim.summary import Slo
from benchmarks.sim.table import table
from benchmarks.simulator.profiles import PROFILES
from benchmarks.workloads import catalogue
from benchmarks.workloads.questions import ModelMix
from benchmarks.workloads.read import read
from benchmarks.workloads.workload import Workload


def run(arguments: list[str]) -> int:
    """0 when every run came to its end."""
    given = _parse(arguments)
    try:
        workload = _workload(given)
        fleet = FleetSpec.of(workload.shape, given.model, given.gpu, given.replicas)
        jobs = [_job(given, workload, fleet, policy) for policy in given.policy]
        for job in jobs:
            made = plan_of(job).profile()
            if job.admission == policies.OWN_GATE and made.name != policies.OURS:
                raise ValueError(
                    f"--admission {job.admission} is that of --policy {policies.OURS}, not of {job.policy}"
                )
        knee_rps, rates = _rates(given, jobs[0])
    except ValueError as wrong:
        print(f"onehop bench sim: {wrong}", file=sys.stderr)
        return 1
    cases = [(replace(job, rate=rate), load) for load, rate in rates for job in jobs]
    seeded = [replace(job, seed=seed) for job, _ in cases for seed in range(given.seeds)]
    found = batch.all_of(batch.run, seeded, given.processes, given.requests_out)
    results = []
    for number, (load, rate) in enumerate(rates):
        begin = number * len(jobs)
        of_load = with_frontier(
            [
                report(job, load, knee_rps, found[n * given.seeds : (n + 1) * given.seeds])
                for n, (job, _) in enumerate(cases[begin : begin + len(jobs)], begin)
            ]
        )
        at = f"{rate:.4g} req/s" + (f" ({load:g} of the knee)" if load else "")
        print(f"{workload.name}, {at}, {given.seeds} seeds\n")
        print(table(of_load) + "\n")
        results += of_load
    if given.json is not None:
        content = results[0] if len(results) == 1 else results
        given.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def _workload(given: argparse.Namespace) -> Workload:
    if given.trace is not None:
        return read(given.trace)
    folder = "ONEHOP_ROUTING" if given.workload in catalogue.MIXES else "ONEHOP_TRACES"
    named = os.environ.get(folder)
    return catalogue.find(given.workload, given.data or (Path(named) if named else None))


def _job(given: argparse.Namespace, workload: Workload, fleet: FleetSpec, policy: str) -> Job:
    slo = Slo(given.slo_ttft, given.slo_prefill_factor, given.slo_tpot)
    scrape_s = given.scrape_ms / 1e3
    own = mix.own_admission if isinstance(workload, ModelMix) else policies.own_admission
    admission = given.admission or own(policy)
    shares = given.mix or workload.shape.mix or (0.0, 1.0, 0.0)
    shown = given.wiring == "duplex"
    return Job(workload, fleet, policy, admission, 0.0, 0, shares, scrape_s, slo, given.requests, shown, given.crew)


def _rates(given: argparse.Namespace, job: Job) -> tuple[float | None, list[tuple[float | None, float]]]:
    """The knee, and each load with its requests a second; no knee where a rate is given."""
    if given.rate is not None:
        return None, [(None, given.rate)]
    knee_rps = knee.find(job, given.processes, lambda line: print(f"looking for the knee: {line}", file=sys.stderr))
    return knee_rps, [(load, load * knee_rps) for load in dict.fromkeys(given.load)]


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="onehop bench sim", description="The picker's own code against simulated model servers, in virtual time."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--workload", choices=sorted(catalogue.NAMES), metavar="NAME", help=", ".join(catalogue.NAMES))
    what.add_argument(
        "--trace", type=Path, metavar="FILE", help="a trace, Mooncake, agent, Azure or ServeGen; .gz or not"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="of the traces, or tables of outcomes, that a workload reads (ONEHOP_TRACES, ONEHOP_ROUTING)",
    )
    parser.add_argument(
        "--policy",
        action="append",
        metavar="NAME",
        help=f"several times or with commas: {', '.join(policies.names())}; of a model mix: {', '.join(mix.names())}, "
        "and CHOICE/PICKER",
    )
    parser.add_argument(
        "--admission",
        choices=list(policies.ADMISSIONS),
        default=None,
        help="each policy's own by default: our gate for ours, the Go picker's for llm-d's, none for the others",
    )
    parser.add_argument(
        "--mix", type=_mix, metavar="C,S,L", help="shares of critical, standard, sheddable; all standard by default"
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=positive, metavar="R", help="requests a second")
    pace.add_argument(
        "--load", type=loads, default=[1.0], metavar="X", help="in parts of the knee; several with commas"
    )
    parser.add_argument("--replicas", type=count, default=8)
    parser.add_argument(
        "--gpu",
        default=None,
        help="h100 (default), a100, l4, or kinds with numbers, h100:4,a100:4, and models, llama3-70b@h100x4:2",
    )
    parser.add_argument("--model", choices=sorted(PROFILES), help="llama3-8b unless the workload names its own")
    parser.add_argument("--seeds", type=count, default=1)
    parser.add_argument("--requests", type=count, metavar="N", help="so many; of a trace at most what it has")
    parser.add_argument(
        "--wiring",
        choices=("duplex", "buffered"),
        default="duplex",
        help="whether the gateway shows us answers (full duplex), or their headers only",
    )
    parser.add_argument("--pickers", type=count, default=1, metavar="K", help="pickers that requests are dealt over")
    parser.add_argument("--sharing", choices=SHARINGS, default="nothing", help="what several pickers have in common")
    parser.add_argument("--scrape-ms", type=positive, default=50.0)
    parser.add_argument("--slo-ttft", type=float, default=2.0, metavar="S")
    parser.add_argument("--slo-prefill-factor", type=float, default=2.0, metavar="F")
    parser.add_argument("--slo-tpot", type=float, default=0.1, metavar="S")
    parser.add_argument("--processes", type=count, default=processes_default())
    parser.add_argument("--json", type=Path, metavar="FILE", help="summaries, by class and by seed")
    parser.add_argument(
        "--requests-out", type=Path, metavar="FILE", help="every request, a line of JSON each; .gz or not"
    )
    given = parser.parse_args(arguments)
    names = [name for words in given.policy or ["default"] for name in words.split(",")]
    given.policy = list(dict.fromkeys(names))
    given.crew = Crew(given.pickers, given.sharing if given.pickers > 1 else "nothing")
    return given


def _mix(text: str) -> tuple[float, float, float]:
    parts = tuple(float(part) for part in text.split(","))
    if len(parts) != 3 or min(parts) < 0 or sum(parts) <= 0:
        raise argparse.ArgumentTypeError("three shares, none negative: critical, standard, sheddable")
    critical, standard, sheddable = (part / sum(parts) for part in parts)
    return critical, standard, sheddable


def loads(text: str) -> list[float]:
    """Numbers with commas, each above 0."""
    return [positive(part) for part in text.split(",")]


def count(text: str) -> int:
    """How many, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def positive(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < inf:
        raise argparse.ArgumentTypeError("must be above 0, and finite")
    return value
