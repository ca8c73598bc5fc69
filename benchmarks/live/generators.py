"""The load generators of a run, as processes of their own.

Must stay true: all of them begin together, and what they prepare is over before anybody's CPU is counted.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.live.messages import GO, Plan, Result, pack, read_frame, unpack
from epp.cli.stack import StartError

PATIENCE_S = 60.0
"""Beyond the seconds of a plan: to get ready, and to tell what came of it."""


class Generators:
    """Made by `generators`."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes
        self._seconds = 0.0

    def __len__(self) -> int:
        return len(self._processes)

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [process.pid for process in self._processes]

    async def prepare(self, plans: Sequence[Plan]) -> None:
        """Everything that can be done ahead of time."""
        for process, plan in zip(self._processes, plans, strict=True):
            await _tell(process, pack(plan))
        for process in self._processes:
            await _frame(process, 0.0)
        self._seconds = max(plan.seconds + plan.timeout_s for plan in plans)

    async def go(self) -> list[Result]:
        """Play what was prepared."""
        for process in self._processes:
            await _tell(process, pack(GO))
        return [unpack(await _frame(process, self._seconds), Result) for process in self._processes]


@asynccontextmanager
async def generators(count: int) -> AsyncIterator[Generators]:
    """So many, gone when left."""
    processes: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(count):
            processes.append(await _started())
        yield Generators(processes)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()  # it holds nothing
            await process.wait()


async def _started() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.live.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is for us; we end it
    )


async def _tell(process: asyncio.subprocess.Process, frame: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(frame)
        await process.stdin.drain()
    except ConnectionError:
        raise StartError("a load generator has ended; it said why above") from None


async def _frame(process: asyncio.subprocess.Process, seconds: float) -> bytes:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(seconds + PATIENCE_S):
            frame = await read_frame(process.stdout)
    except TimeoutError:
        raise StartError(f"a load generator said nothing {PATIENCE_S:.0f} s after it should have ended") from None
    if not frame:
        raise StartError("a load generator has ended; it said why above")
    return frame
