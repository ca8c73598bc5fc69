"""`python -m benchmarks.observe`: what it costs to be seen, in one run.

The same requests through the same kind of site, in turns: OneHop that counts nothing and keeps no receipt (`muted`),
with metrics and receipts while Prometheus reads, with a tenth of the requests traced to a collector, with all of that
and the live page open (its stream is read, as by a browser), and with every request traced. The figure is the picker's
CPU a request, all threads of it, in parts of the muted one's: the median over the rounds.
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

import aiohttp

from benchmarks.live.cases import Case, Pace, answer_case, prompt_case
from benchmarks.live.fleet import Instant, running
from benchmarks.live.generators import generators
from benchmarks.live.measure import Asking, Slices
from benchmarks.live.site import Chain, site
from benchmarks.live.summary import rows
from benchmarks.live.target import Target
from epp.cli.envoy import Wiring
from epp.cli.stack import end

MUTED = "muted"
EVERYTHING = "everything: metrics, receipts, a tenth traced, the page open"
SCRAPE_S = 15.0  # the interval of the chart's monitors
REPLICAS, TIMEOUT_S = 16, 60.0
CASES: dict[str, tuple[Wiring, int]] = {  # wiring, tokens of the answer, 0 for one JSON
    "1 KB, buffered": ("buffered", 0),
    "1 KB, full duplex": ("duplex", 0),
    "answer of 100 chunks, full duplex": ("duplex", 100),
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
        (servers := folder / "servers").mkdir()
        fleet = await closing.enter_async_context(running(Instant(REPLICAS), 0, servers))
        slices = Slices(
            await closing.enter_async_context(generators(1)), Asking(fleet.model, TIMEOUT_S, False), fleet.pid
        )
        address = await closing.enter_async_context(collector())
        for case, (wiring, tokens) in CASES.items():
            async with AsyncExitStack() as here:
                sites: list[Target] = []
                for name, module, flags in _pickers(address):
                    place = folder / f"{len(found)}-{len(sites)}"
                    place.mkdir()
                    chain = Chain(name, wiring, flags, module)
                    sites.append(await here.enter_async_context(site(chain, fleet, place)))
                here.enter_context(_scraping(sites))
                here.enter_context(_looking(next(one for one in sites if one.name == EVERYTHING)))
                asked = _case(tokens, Pace(args.seconds, closed=True))
                found[case] = await _rounds(args.rounds, case, sites, slices, asked)
    return found


def _case(tokens: int, pace: Pace) -> Case:
    if tokens:
        return answer_case(tokens, pace, token_s=0.004, pause_ms=4.0)
    return prompt_case(1024, pace, instant=True)


async def _rounds(rounds: int, case: str, sites: list[Target], slices: Slices, asked: Case) -> dict[str, list[float]]:
    ratios: dict[str, list[float]] = {one.name: [] for one in sites}
    for turn in range(rounds):
        sys.stderr.write(f"{case}, round {turn + 1}\n")
        used: dict[str, float] = {}
        for one in sites if turn % 2 else reversed(sites):  # nobody is always first
            (row,) = rows([await slices.play(asked, one, turn, {})])
            assert set(row["statuses"]) == {"200"}, row["statuses"]
            used[one.name] = row["picker_cpu_s"]
        for name, cpu_s in used.items():
            ratios[name].append(cpu_s / used[MUTED])
    return ratios


def _pickers(collector: str) -> Iterator[tuple[str, str, list[str]]]:
    """Name, what is started, and its flags."""
    traced = ["--tracing", f"--tracing-endpoint={collector}"]
    yield MUTED, "benchmarks.observe.muted", ["--receipts-sample=0"]
    yield "metrics and receipts", "epp", []
    yield "and a tenth traced", "epp", [*traced, "--tracing-sample=0.1"]
    yield EVERYTHING, "epp", [*traced, "--tracing-sample=0.1"]
    yield "all traced, no page", "epp", [*traced, "--tracing-sample=1"]


@contextlib.contextmanager
def _scraping(sites: list[Target]) -> Iterator[None]:
    """Read everybody's metrics, as Prometheus does."""

    async def run() -> None:
        while True:
            for one in sites:
                await asyncio.to_thread(_read, f"http://127.0.0.1:{one.metrics}/metrics")
            await asyncio.sleep(SCRAPE_S)

    task = asyncio.ensure_future(run())
    try:
        yield
    finally:
        task.cancel()


@contextlib.contextmanager
def _looking(one: Target) -> Iterator[None]:
    """Read the live page's stream of this one, all the time."""

    async def run() -> None:
        nothing = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(timeout=nothing) as http,
            http.get(f"http://127.0.0.1:{one.page}/live") as stream,
        ):
            assert stream.status == 200
            async for _ in stream.content.iter_any():
                pass

    task = asyncio.ensure_future(run())
    try:
        yield
        assert not task.done(), "nobody looked at the page"
    finally:
        task.cancel()


def _read(url: str) -> None:
    with urllib.request.urlopen(url, timeout=10) as answer:
        answer.read()


@asynccontextmanager
async def collector() -> AsyncIterator[str]:
    """The address of a process that takes spans and forgets them."""
    command = [sys.executable, "-m", "benchmarks.observe.collector"]
    process = await asyncio.to_thread(_started, command)
    try:
        assert process.stdout is not None
        yield (await asyncio.to_thread(process.stdout.readline)).decode().strip()
    finally:
        await end(process)
        if process.stdout is not None:
            process.stdout.close()


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE)


if __name__ == "__main__":
    main()
