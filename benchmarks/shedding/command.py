"""`onehop bench shedding`: from its arguments to runs, a table, a report with pictures, and JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.plots.style import PlotsMissing, needs_matplotlib
from benchmarks.shedding import page, plan, results
from benchmarks.shedding.contenders import CONTENDERS, chosen
from benchmarks.shedding.measure import Measured, measure
from benchmarks.shedding.pictures import draw
from benchmarks.sim import batch, knee
from benchmarks.sim.command import count, loads, positive
from benchmarks.sim.fleet import FleetSpec
from benchmarks.sim.runs import Job, processes_default
from benchmarks.sim.summary import Slo
from benchmarks.simulator.profiles import PROFILES
from benchmarks.workloads import catalogue

QUICK = {"loads": [0.5, 1.0, 2.0, 3.0], "seeds": 2, "replicas": 2, "requests": 3_000}


def run(arguments: list[str]) -> int:
    """0 when every run came to its end; 1 for what cannot be run or drawn."""
    given = _parse(arguments)
    try:
        if given.out is not None:
            needs_matplotlib()  # before the minutes that it takes
        said = _run(given)
        if given.json is not None:
            given.json.write_text(json.dumps(said, indent=2) + "\n")
        print(page.summary(said))
        if given.out is not None:
            given.out.mkdir(parents=True, exist_ok=True)
            (given.out / "shedding.md").write_text(page.page(said, _again(arguments)))
            draw(said, given.out)
            print(f"{given.out / 'shedding.md'} says more, with pictures beside it", file=sys.stderr)
    except (ValueError, PlotsMissing) as wrong:
        print(f"onehop bench shedding: {wrong}", file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> dict[str, Any]:
    plain = catalogue.find(given.workload, given.data)
    fleet = FleetSpec.parse(given.model, given.gpu, given.replicas)
    job = Job(plain, fleet, "", "", 0.0, 0, plan.MIX, 0.05, Slo(), given.requests)
    knee_rps = given.knee
    if knee_rps is None:
        knee_rps = knee.find(job, given.processes, lambda line: print(f"looking for the knee: {line}", file=sys.stderr))
    job = replace(job, workload=plan.tenanted(plain))
    cases = plan.cases(job, given.loads, knee_rps, given.step_seconds, given.contenders)
    seeded = [replace(case.job, seed=seed) for case in cases for seed in range(given.seeds)]
    found: list[Measured] = batch.all_of(measure, seeded, given.processes, given.requests_out)
    each = [found[n * given.seeds : (n + 1) * given.seeds] for n in range(len(cases))]
    return results.content(cases, knee_rps, [results.result(c, knee_rps, m) for c, m in zip(cases, each, strict=True)])


def _again(arguments: list[str]) -> str:
    """The command that gives the same report; where its files went does not matter to it."""
    kept, words = [], iter(arguments)
    for word in words:
        if word in ("--out", "--json", "--requests-out", "--processes", "--data"):
            next(words, None)
        elif not word.startswith(("--out=", "--json=", "--requests-out=", "--processes=", "--data=")):
            kept.append(word)
    return " ".join(["onehop bench shedding", *kept, "--out FOLDER"])


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="onehop bench shedding",
        description="Goodput, first tokens, refusals and recovery by class under overload, in virtual time: "
        + "; ".join(f"{each.name} ({each.title})" for each in CONTENDERS)
        + ". 20 % critical, 50 % standard and 30 % sheddable requests of twenty tenants, one of which sends half.",
    )
    parser.add_argument(
        "--workload",
        choices=sorted(catalogue.NAMES),
        default="mixed-tenants",
        metavar="NAME",
        help="mixed-tenants (default), or any without sessions: " + ", ".join(catalogue.NAMES),
    )
    data = os.environ.get("ONEHOP_TRACES")
    parser.add_argument(
        "--data", type=Path, default=Path(data) if data else None, metavar="FOLDER", help="of recorded workloads"
    )
    parser.add_argument("--contenders", type=chosen, default=CONTENDERS, metavar="NAME,...", help="all")
    parser.add_argument("--loads", type=loads, metavar="X,...", help="in parts of the knee (0.5,1,1.5,2,3)")
    parser.add_argument("--seeds", type=count, metavar="K", help="5")
    parser.add_argument("--replicas", type=count, help="8")
    parser.add_argument("--gpu", default="h100")
    parser.add_argument("--model", default="llama3-8b", choices=sorted(PROFILES))
    parser.add_argument("--requests", type=count, metavar="N", help="at most so many of the workload, at each load")
    parser.add_argument("--step-seconds", type=positive, metavar="S", help="how long the step lasts")
    parser.add_argument("--knee", type=positive, metavar="R", help="requests a second of load 1, instead of finding it")
    parser.add_argument("--quick", action="store_true", help="a small fleet and two seeds: a minute or two")
    parser.add_argument("--processes", type=count, default=processes_default())
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the report, shedding.md, and its pictures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers, for `bench compare` and `bench plot`")
    parser.add_argument("--requests-out", type=Path, metavar="FILE", help="every request, a line of JSON; .gz or not")
    given = parser.parse_args(arguments)
    usual = QUICK if given.quick else {"loads": list(plan.LOADS), "seeds": 5, "replicas": 8, "requests": None}
    for name, value in usual.items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    return given
