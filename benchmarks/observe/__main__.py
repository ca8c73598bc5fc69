"""`python -m benchmarks.observe`: what it costs to be seen, in one run.

The same requests through the same kind of site, in turns: OneHop that counts nothing and keeps no receipt (`muted`),
with metrics and receipts while Prometheus reads, and with a tenth, then all, of the requests traced to a collector.
The figure is the picker's CPU a request, all threads of it, in parts of the muted one's: the median over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.hop.load import Plan
from benchmarks.hop.measure import measure
from benchmarks.hop.site import Site, site, upstream
from epp.cli.envoy import Wiring
from epp.cli.stack import end

MUTED = "muted"
SCRAPE_S = 15.0  # the interval of the chart's monitors
CASES: dict[str, tuple[Wiring, int, str]] = {  # wiring, connections, answer as in `benchmarks/hop/upstream.py`
    "1 KB, buffered": ("buffered", 16, ""),
    "1 KB, full duplex": ("duplex", 16, ""),
    "answer of 100 chunks, full duplex": ("duplex", 16, "100/4"),
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observe", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each round of each (3)")
    parser.add_argument("--rounds", type=int, default=5, help="how often the turns are repeated (5)")
    parser.add_argument("--json", type=Path, help="write everything there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="observe-") as folder:
        found = asyncio.run(_run(args, Path(folder)))
    sys.stdout.write(table(found))
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """CPU a request in parts of the muted one's: median, lowest and highest round."""
    lines = ["| | " + " | ".join(next(iter(found.values()))) + " |"]
    lines.append("|---" * (1 + len(next(iter(found.values())))) + "|")
    for case, by_name in found.items():
        cells = [f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" for ratios in by_name.values()]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


async def _run(args: argparse.Namespace, folder: Path) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    async with AsyncExitStack() as closing:
        endpoints = await closing.enter_async_context(upstream())
        collector = await closing.enter_async_context(_collector())
        for case, (wiring, *_) in CASES.items():
            async with AsyncExitStack() as here:
                sites = []
                for name, more in _pickers(collector):
                    place = folder / f"{len(found)}-{name.replace(' ', '-')}"
                    place.mkdir()
                    sites.append(await here.enter_async_context(site(name, wiring, endpoints, place, **more)))
                here.enter_context(_scraping(sites))
                found[case] = await _rounds(args, case, sites)
    return found


async def _rounds(args: argparse.Namespace, case: str, sites: list[Site]) -> dict[str, list[float]]:
    wiring, connections, answer = CASES[case]
    ratios: dict[str, list[float]] = {one.name: [] for one in sites}
    for turn in range(args.rounds):
        sys.stderr.write(f"{case}, round {turn + 1}\n")
        used: dict[str, float] = {}
        for one in sites if turn % 2 else reversed(sites):  # nobody is always first
            row = await measure(one, wiring, case, Plan(one.port, connections, args.seconds, 1024, answer))
            assert set(row.statuses) == {"200"}, row.statuses
            assert row.picker_cpu_s is not None
            used[one.name] = row.picker_cpu_s
        for name, cpu_s in used.items():
            ratios[name].append(cpu_s / used[MUTED])
    return ratios


def _pickers(collector: str) -> Iterator[tuple[str, dict[str, Any]]]:
    traced = ["--tracing", f"--tracing-endpoint={collector}"]
    yield MUTED, {"flags": ["--receipts-sample=0"], "module": "benchmarks.observe.muted"}
    yield "metrics and receipts", {"flags": []}
    yield "and a tenth traced", {"flags": [*traced, "--tracing-sample=0.1"]}
    yield "and all traced", {"flags": [*traced, "--tracing-sample=1"]}


@contextlib.contextmanager
def _scraping(sites: list[Site]) -> Iterator[None]:
    """Read everybody's metrics, as Prometheus does."""

    async def run() -> None:
        while True:
            for one in sites:
                await asyncio.to_thread(_read, f"http://127.0.0.1:{one.metrics_port}/metrics")
            await asyncio.sleep(SCRAPE_S)

    task = asyncio.ensure_future(run())
    try:
        yield
    finally:
        task.cancel()


def _read(url: str) -> None:
    with urllib.request.urlopen(url, timeout=10) as answer:
        answer.read()


@asynccontextmanager
async def _collector() -> AsyncIterator[str]:
    """The address of a process that takes spans and forgets them."""
    command = [sys.executable, "-m", "benchmarks.observe.collector"]
    process = await asyncio.to_thread(_started, command)
    try:
        assert process.stdout is not None
        yield (await asyncio.to_thread(process.stdout.readline)).decode().strip()
    finally:
        await end(process)


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE)


if __name__ == "__main__":
    main()
