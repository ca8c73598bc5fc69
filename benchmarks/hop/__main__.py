"""`python -m benchmarks.hop`: what a hop through each picker costs, against none, in one run.

Every case is measured on all pickers before the next begins, so that what else this machine does meanwhile falls on
all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.hop.load import Plan
from benchmarks.hop.measure import Memory, Row, hold, measure
from benchmarks.hop.report import NONE, fill_added, tables
from benchmarks.hop.site import Site, site, upstream
from epp.cli.envoy import Wiring

WIRINGS: tuple[Wiring, ...] = ("buffered", "duplex")


@dataclass(frozen=True)
class Case:
    """A kind of request."""

    name: str
    connections: int
    body_bytes: int
    answer: str = ""
    wirings: tuple[Wiring, ...] = WIRINGS


KIB = 1024
QUICK = (
    Case("1 KB, 16 connections", 16, KIB),
    Case("1 KB, 1 connection", 1, KIB),
    Case("answer of 100 chunks", 16, KIB, "100/4", ("duplex",)),
)
FULL = (
    *QUICK[:2],
    Case("32 KB", 16, 32 * KIB),
    Case("220 KB", 8, 220 * KIB),
    Case("1 MiB", 4, 1024 * KIB),
    Case("answer of 10 chunks", 16, KIB, "10/4"),
    Case("answer of 100 chunks", 16, KIB, "100/4"),
    Case("answer of 1,000 chunks", 16, KIB, "1000/4"),
    Case("answer of 10,000 chunks", 4, KIB, "10000/1"),
)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hop", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few cases, about a minute")
    parser.add_argument("--seconds", type=float, help="for each case and picker (5; with --quick 2)")
    parser.add_argument(
        "--picker-address", help="HOST:PORT of another ext_proc picker, plaintext, for 127.0.0.11 to .26"
    )
    parser.add_argument("--picker-pid", type=int, help="its process, to see its CPU and memory")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--json", type=Path, help="write everything there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hop-") as folder:
        rows, memories = asyncio.run(_stoppable(args, Path(folder)))
    fill_added(rows)
    sys.stdout.write(tables(rows, memories))
    if args.json is not None:
        told = {"machine": _machine(), "rows": [asdict(r) for r in rows], "memory": [asdict(m) for m in memories]}
        args.json.write_text(json.dumps(told, indent=1) + "\n")
    bad = [row for row in rows if set(row.statuses) - {"200"}]
    sys.exit(1 if bad else 0)


async def _stoppable(args: argparse.Namespace, folder: Path) -> tuple[list[Row], list[Memory]]:
    """Told to end, it ends every process that it started."""
    running = asyncio.create_task(_run(args, folder))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


async def _run(args: argparse.Namespace, folder: Path) -> tuple[list[Row], list[Memory]]:
    rows: list[Row] = []
    memories: list[Memory] = []
    cases = [case for case in (QUICK if args.quick else FULL) if args.only in case.name]
    for wiring in WIRINGS:
        async with AsyncExitStack() as closing:
            sites = [site async for site in _sites(args, wiring, folder, closing)]
            for case in cases:
                for one in sites if wiring in case.wirings else ():
                    _say(f"{wiring}, {case.name}, {one.name}")
                    rows.append(await measure(one, wiring, case.name, _plan(case, one, args)))
            for streams in () if args.only else (1, 100) if args.quick else (1, 100, 5_000):
                for one in sites:
                    if one.name != NONE:
                        _say(f"{wiring}, {streams} open streams, {one.name}")
                        memories.append(await hold(one, wiring, streams))
    return rows, memories


async def _sites(args: Any, wiring: Wiring, folder: Path, closing: AsyncExitStack) -> Any:
    endpoints = await closing.enter_async_context(upstream())
    for name, more in _pickers(args):
        place = folder / f"{wiring}-{name.replace(':', '-')}"
        await asyncio.to_thread(place.mkdir)
        made = site(name, wiring, endpoints, place, **more)
        yield await closing.enter_async_context(made)


def _pickers(args: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield NONE, {}
    for transport in ("native", "grpc"):
        yield transport, {"flags": [f"--transport={transport}"]}
    if args.picker_address:
        yield args.picker_address, {"address": args.picker_address, "pid": args.picker_pid}


def _plan(case: Case, one: Site, args: Any) -> Plan:
    """An answer of many chunks takes its time: at least two of them must fit."""
    seconds = args.seconds or (2.0 if args.quick else 5.0)
    if case.answer:
        chunks, _, pause_ms = case.answer.partition("/")
        seconds = max(seconds, 2.5 * int(chunks) * float(pause_ms) / 1000)
    return Plan(one.port, case.connections, seconds, case.body_bytes, case.answer)


def _machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
