"""`onehop bench live`: from its arguments to slices, tables and JSON.

Must stay true: however it ends, every process that it started has ended before; what was measured until then is told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.live import summary
from benchmarks.live.arguments import parse
from benchmarks.live.cases import Case, size_name
from benchmarks.live.fleet import Simulated, running
from benchmarks.live.generators import Generators, generators
from benchmarks.live.judged import Judge
from benchmarks.live.machine import machine, sentence
from benchmarks.live.measure import Asking, Held, Slice, Slices
from benchmarks.live.plan import Setup, rounds, setups
from benchmarks.live.progress import Progress
from benchmarks.live.report import tables
from benchmarks.live.site import site
from benchmarks.live.target import Target, parse_url
from benchmarks.live.verdict import client
from epp.cli.envoy import find_envoy
from epp.cli.stack import StartError

IDLE_S, QUICK_IDLE_S = 2.0, 1.0
INTERRUPTED = 130


@dataclass(slots=True)
class Told:
    """What there is to tell so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    memories: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    idle: list[dict[str, Any]] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)


def run(arguments: list[str]) -> int:
    """0 when everything was answered with 200, 1 when not, 130 after Ctrl-C."""
    given = parse(arguments)
    told = Told()
    try:
        planned = setups(given)
        targets = [parse_url(url, remote=given.allow_remote) for url in given.url or ()]
        if not targets:
            find_envoy()
        where = machine()
        with tempfile.TemporaryDirectory(prefix="onehop-live-") as folder:
            ended = asyncio.run(_stoppable(_Run(given, targets, Path(folder), told), planned))
    except (ValueError, StartError) as wrong:
        print(f"onehop bench live: {wrong}", file=sys.stderr)
        return 1
    print(tables(told.rows, told.memories, told.idle))
    print(sentence(where))
    if given.json is not None:
        given.json.write_text(json.dumps(_document(given, arguments, where, told, ended), indent=1) + "\n")
    if not ended:
        print("interrupted: the tables are of what was played until then", file=sys.stderr)
        return INTERRUPTED
    return 1 if any(set(row["statuses"]) - {"200"} for row in told.rows) else 0


async def _stoppable(playing: _Run, planned: Sequence[Setup]) -> bool:
    """Whether it came to its end; the first signal ends it, and others do not disturb that."""
    task = asyncio.create_task(playing.play(planned))
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        return False
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return True


class _Run:
    """One run."""

    def __init__(self, given: argparse.Namespace, targets: Sequence[Target], folder: Path, told: Told) -> None:
        self._given = given
        self._targets = targets
        self._folder = folder
        self._told = told
        self._rounds = rounds(given)

    async def play(self, planned: Sequence[Setup]) -> None:
        """Every setup, one after another."""
        total = sum(self._slices(setup) for setup in planned)
        progress = Progress(total)
        try:
            async with generators(self._given.clients) as made:
                for number, setup in enumerate(planned):
                    progress.now("starting")
                    await self._setup(setup, made, self._folder / str(number), progress)
        finally:
            progress.close()

    def _slices(self, setup: Setup) -> int:
        targets = len(setup.chains) or len(self._targets)
        return targets * (sum(map(self._rounds_of, setup.cases)) + len(setup.holds))

    def _rounds_of(self, case: Case) -> int:
        return min(self._rounds, case.rounds_max or self._rounds)

    async def _setup(self, setup: Setup, made: Generators, folder: Path, progress: Progress) -> None:
        _make(folder)
        async with AsyncExitStack() as closing:
            targets, model, servers, judge = self._targets, self._given.model, None, None
            if setup.servers is not None:
                fleet = await closing.enter_async_context(running(setup.servers, self._given.replica_port, folder))
                model, servers = fleet.model, fleet.pid
                if isinstance(setup.servers, Simulated):
                    judge = Judge(setup.servers.spec, setup.servers.time_factor, fleet.addresses)
                self._told.servers.append(setup.servers.describe())
                targets = []
                for number, chain in enumerate(setup.chains):
                    place = _make(folder / str(number))
                    targets.append(await closing.enter_async_context(site(chain, fleet, place)))
            ignores_eos = self._given.ignore_eos or setup.servers is not None
            asking = Asking(model, self._given.timeout, ignores_eos, self._given.header)
            await self._play(setup, targets, Slices(made, asking, servers, judge), progress)

    async def _play(self, setup: Setup, targets: Sequence[Target], slices: Slices, progress: Progress) -> None:
        idle = {}
        for target in targets if setup.servers else ():
            progress.now(f"{target.name}, idle")
            idle[target.name] = await slices.idle(target, QUICK_IDLE_S if self._given.quick else IDLE_S)
            self._told.idle.append({"wiring": setup.wiring, "target": target.name, "cpu_share": idle[target.name]})
        for case in setup.cases:
            played: list[Slice] = []
            try:
                for number in range(self._rounds_of(case)):
                    for target in turned(targets, number):
                        progress.now(", ".join(filter(None, (setup.wiring, case.name, target.name))))
                        played.append(await slices.play(case, target, number, idle.get(target.name, {})))
                        progress.step()
            finally:
                self._tell(setup, targets, played)
        held: list[Held] = []
        for hold in setup.holds:
            for target in targets:
                size = size_name(hold.prompt_bytes)
                progress.now(f"{setup.wiring}, {hold.streams} open requests of {size}, {target.name}")
                held.append(await slices.hold(target, hold))
                progress.step()
        self._told.memories += summary.memories(held, setup.wiring or "")

    def _tell(self, setup: Setup, targets: Sequence[Target], played: list[Slice]) -> None:
        order = {target.name: n for n, target in enumerate(targets)}
        played.sort(key=lambda one: order[one.target.name])
        for row in summary.rows(played, setup.wiring):
            self._told.rows.append({**row, "client": client(row)})
        if self._given.raw:
            self._told.requests += summary.requests(played, setup.wiring)


def _make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def turned(targets: Sequence[Target], number: int) -> list[Target]:
    """Another one begins each round."""
    begin = number % len(targets)
    return [*targets[begin:], *targets[:begin]]


def _document(
    given: argparse.Namespace, arguments: Sequence[str], where: dict[str, Any], told: Told, ended: bool
) -> dict[str, Any]:
    document = {
        "command": ["onehop", "bench", "live", *without_headers(arguments)],
        "machine": where,
        "load_average_after": machine()["load_average"],
        "complete": ended,
        "servers": told.servers,
        "rows": told.rows,
        "memory": told.memories,
        "idle": told.idle,
    }
    return {**document, "requests": told.requests} if given.raw else document


def without_headers(arguments: Sequence[str]) -> list[str]:
    """A header may be a key."""
    hidden = []
    for number, word in enumerate(arguments):
        if word.startswith("--header="):
            word = "--header=..."  # noqa: PLW2901
        hidden.append("..." if number and arguments[number - 1] == "--header" else word)
    return hidden
