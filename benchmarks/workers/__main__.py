"""How much of a request's CPU do workers take off the process that decides, and what does asking it cost?

`python -m benchmarks.workers`: a real Envoy and OneHop with one process and with N workers, in turn, the same load in a
closed loop. CPU is counted process by process, so it holds on a machine that is short of cores; requests a second do
not, there. Memory is the proportional share (PSS), since processes share what they have in common.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean

from benchmarks.live.arguments import WIRINGS
from benchmarks.live.cases import Case, Pace, answer_case, prompt_case
from benchmarks.live.fleet import Instant, running
from benchmarks.live.generators import generators
from benchmarks.live.machine import machine, sentence
from benchmarks.live.measure import Asking, Slices
from benchmarks.live.process import cpu_s
from benchmarks.live.site import Chain, site
from benchmarks.live.target import Target
from benchmarks.sim.table import aligned

IDLE_S = 4.0


@dataclass(slots=True)
class Row:
    """One case with so many workers; CPU in microseconds a request, memory in MiB."""

    wiring: str
    case: str
    workers: int
    rounds: int = 0
    requests: int = 0
    failed: int = 0
    requests_per_s: list[float] = field(default_factory=list)
    deciding_us: float = 0.0
    worker_us: float = 0.0
    envoy_us: float = 0.0
    share_least: float = 1.0
    deciding_mib: float = 0.0
    worker_mib: float = 0.0


def main() -> int:
    """0 when everything was answered with 200."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    where = machine()
    rows = asyncio.run(_all(given))
    print(_table(rows))
    print(sentence(where))
    if given.json is not None:
        document = {
            "machine": where,
            "load_average_after": machine()["load_average"],
            "rows": [asdict(r) for r in rows],
        }
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if any(row.failed for row in rows) else 0


async def _all(given: argparse.Namespace) -> list[Row]:
    pace = Pace(given.seconds, closed=True, connections=16)
    asked = [prompt_case(1_024, pace, instant=True), prompt_case(220_000, pace, instant=True)]
    chunks = answer_case(100, pace, token_s=0.004, pause_ms=4.0)
    rows: list[Row] = []
    for wiring, cases in (("w1", asked), ("duplex", [asked[0], chunks])):
        with tempfile.TemporaryDirectory(prefix="onehop-workers-") as name:
            rows += await _wiring(wiring, cases, given, Path(name))
    return rows


async def _wiring(wiring: str, cases: Sequence[Case], given: argparse.Namespace, folder: Path) -> list[Row]:
    rows = {(case.name, n): Row(wiring, case.name, n) for case in cases for n in given.workers}
    async with AsyncExitStack() as closing:
        made = await closing.enter_async_context(generators(1))
        fleet = await closing.enter_async_context(running(Instant(16), 0, folder))
        targets: dict[int, Target] = {}
        for n in given.workers:
            place = folder / str(n)
            place.mkdir()
            chain = Chain(f"{n} workers", WIRINGS[wiring], flags=[f"--workers={n}"])
            targets[n] = await closing.enter_async_context(site(chain, fleet, place))
        slices = Slices(made, Asking(fleet.model, 30.0, True), fleet.pid)
        idle = {n: await _idle(targets[n]) for n in given.workers}
        for case in cases:
            for number in range(given.rounds + 1):
                for n in given.workers if number % 2 else reversed(given.workers):
                    await _play(rows[case.name, n], case, targets[n], slices, (number, idle[n]))
    return list(rows.values())


async def _play(row: Row, case: Case, target: Target, slices: Slices, turn: tuple[int, list[float]]) -> None:
    """One slice; the first of each case lets connections find their workers, and is not counted.

    Without what each process uses in a second when nobody asks (`turn` has its number, and that).
    """
    number, idle = turn
    pids = _pids(target)
    before, began = [cpu_s(pid) for pid in pids], time.monotonic()
    played = await slices.play(case, target, number, {})
    took = time.monotonic() - began
    used = [max(0.0, cpu_s(pid) - b - i * took) for pid, b, i in zip(pids, before, idle, strict=True)]
    samples = [sample for result in played.results for sample in result.samples]
    done = sum(sample.status == "200" for sample in samples)
    print(f"{row.wiring}, {row.case}, {row.workers}: {done} of {len(samples)}", file=sys.stderr)
    row.failed += len(samples) - done
    if number == 0 or not done:
        return
    deciding, *workers = used
    row.rounds += 1
    row.requests += done
    row.requests_per_s.append(done / played.seconds)
    _mean(row, "deciding_us", deciding / done * 1e6)
    _mean(row, "envoy_us", played.cpu_s["envoy"] / done * 1e6)
    if workers:
        _mean(row, "worker_us", sum(workers) / done * 1e6)
        row.share_least = min(row.share_least, min(workers) / sum(workers))
        row.worker_mib = fmean(_pss_mib(pid) for pid in pids[1:])
    row.deciding_mib = _pss_mib(pids[0])


def _mean(row: Row, name: str, value: float) -> None:
    setattr(row, name, getattr(row, name) + (value - getattr(row, name)) / row.rounds)


async def _idle(target: Target) -> list[float]:
    """CPU seconds a second of each process while nobody asks."""
    pids = _pids(target)
    before, began = [cpu_s(pid) for pid in pids], time.monotonic()
    await asyncio.sleep(IDLE_S)
    took = time.monotonic() - began
    return [(cpu_s(pid) - b) / took for pid, b in zip(pids, before, strict=True)]


def _pids(target: Target) -> list[int]:
    """The process that decides, and its workers."""
    assert target.picker is not None
    return [target.picker, *_children(target.picker)]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _pss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _table(rows: Sequence[Row]) -> str:
    head = ["wiring", "case", "workers", "req/s", "deciding us", "workers us", "Envoy us", "least share", "MiB"]
    lines = [head]
    for row in rows:
        memory = f"{row.deciding_mib:.0f}" + (f" + {row.workers} x {row.worker_mib:.0f}" if row.worker_mib else "")
        costs = [f"{cost:.0f}" if cost else "-" for cost in (row.deciding_us, row.worker_us, row.envoy_us)]
        share = f"{row.share_least:.0%}" if row.worker_us else "-"
        rate = f"{fmean(row.requests_per_s):.0f}" if row.requests_per_s else "-"
        lines.append([row.wiring, row.case, str(row.workers), rate, *costs, share, memory])
    return aligned(lines)


if __name__ == "__main__":
    sys.exit(main())
