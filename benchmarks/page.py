"""`python -m benchmarks.page`: what the live page costs OneHop while it is open, against nobody looking, in one run.

A real Envoy, OneHop with its semantic stage, simulated replicas; requests come at a steady rate. Phases follow one
another in turn and in reverse, so that what else this machine does meanwhile falls on all alike. A page is a reader of
`/live`, as a browser is; what the browser itself needs is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from benchmarks.live.process import cpu_s
from epp.cli.quickstart import CONFIG, MODELS
from epp.cli.stack import Stack, StackPlan, running
from epp.cli.story import BURST

PAGES = (0, 1, 16)
SETTLE_S = 1.5


@dataclass
class Row:
    """`cpu` is CPU seconds of OneHop for each second; `ratio` is CPU for each request against nobody looking.

    Where there are no requests it is that of `cpu`.
    """

    rate: float
    pages: int
    requests: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    bytes_read: int = 0
    ratio: float = 0.0

    @property
    def cpu(self) -> float:
        """The part of a core."""
        return self.cpu_s / self.seconds


async def compare(stack: Stack, rate: float, seconds: float, rounds: int) -> list[Row]:
    """A row for each number of pages, at this many requests a second."""
    rows = [Row(rate, pages) for pages in PAGES]
    assert stack.onehop is not None
    pid = stack.onehop.pid
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        for number in range(rounds):
            for row in rows if number % 2 == 0 else reversed(rows):
                async with _open(http, stack, row):
                    await asyncio.sleep(SETTLE_S)
                    loop = asyncio.get_running_loop()
                    began, used = loop.time(), cpu_s(pid)
                    row.requests += await _load(http, stack, rate, seconds)
                    row.cpu_s += cpu_s(pid) - used
                    row.seconds += loop.time() - began
    for row in rows:
        row.ratio = row.cpu / rows[0].cpu
        if rate:
            row.ratio *= (rows[0].requests / rows[0].seconds) / (row.requests / row.seconds)
    return rows


@asynccontextmanager
async def _open(http: aiohttp.ClientSession, stack: Stack, row: Row) -> AsyncIterator[None]:
    """So many pages."""

    async def look() -> None:
        async with http.get(f"{stack.admin_url}/live", timeout=aiohttp.ClientTimeout(total=None)) as answer:
            async for piece in answer.content.iter_any():
                row.bytes_read += len(piece)

    readers = [asyncio.create_task(look()) for _ in range(row.pages)]
    try:
        yield
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _load(http: aiohttp.ClientSession, stack: Stack, rate: float, seconds: float) -> int:
    """Requests at a steady rate, each answered; how many."""
    loop, asks = asyncio.get_running_loop(), 0
    open_: set[asyncio.Task[None]] = set()

    async def ask(number: int) -> None:
        message = {"role": "user", "content": f"{BURST[number % len(BURST)]} ({number})"}
        body = {"model": "auto", "messages": [message], "max_tokens": 8}
        async with http.post(f"{stack.url}/v1/chat/completions", json=body) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}")

    ends = loop.time() + seconds
    while loop.time() < ends:
        if not rate:
            await asyncio.sleep(ends - loop.time())
            break
        task = asyncio.create_task(ask(asks))
        open_.add(task)
        task.add_done_callback(open_.discard)
        asks += 1
        await asyncio.sleep(max(0.0, ends - seconds + asks / rate - loop.time()))
    await asyncio.gather(*open_)
    return asks


async def _run(rates: list[float], seconds: float, rounds: int) -> list[Row]:
    async with AsyncExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="onehop-")))
        plan = StackPlan(models=MODELS, replicas=3, folder=folder, semantic_config=CONFIG)
        stack = await closing.enter_async_context(running(plan))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            await _load(http, stack, max(rates), 5.0)  # receipts of a while, and what is loaded late
        return [row for rate in rates for row in await compare(stack, rate, seconds, rounds)]


def main() -> int:
    """0 when it could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument(
        "--rate", type=float, action="append", help="requests a second; repeatable (default 0, 20, 100)"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = asyncio.run(_run(given.rate or [0.0, 20.0, 100.0], given.seconds, given.rounds))
    lines = ["requests/s  pages  of a core   ratio  bytes/s a page"]
    for row in rows:
        read = row.bytes_read / row.pages / row.seconds if row.pages else 0
        lines.append(
            f"{row.requests / row.seconds:10.1f}  {row.pages:5d}  {row.cpu:9.4f}  {row.ratio:6.3f}  {read:14.0f}"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) | {"cpu": row.cpu} for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
