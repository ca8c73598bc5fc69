"""A load generator: `python -m benchmarks.live.load`, plans on standard input, results on standard output.

It ends when its input does.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from math import inf

import uvloop

from benchmarks.live.loops import ClosedLoop, Held, Loop, OpenLoop
from benchmarks.live.messages import READY, Plan, Result, pack, read_frame, unpack
from benchmarks.workloads.text import prompt


async def serve() -> None:
    """Plan after plan."""
    frames = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(frames), sys.stdin)
    while plan := await read_frame(frames):
        await play(unpack(plan, Plan), frames)
        gc.collect()


async def play(plan: Plan, frames: asyncio.StreamReader) -> None:
    """One plan: get ready, wait for the word, go."""
    kind: type[Loop] = Held if plan.hold else ClosedLoop if plan.connections else OpenLoop
    loop = kind(plan)
    try:
        await loop.open()
        _tell(pack(READY))
        if not await read_frame(frames):
            return
        began = _cpu_s()
        seconds = await loop.run()
        used = _cpu_s() - began
        until = plan.seconds if plan.connections else inf
        result = Result(loop.samples, loop.gaps.tobytes(), seconds, used, plan.warm_s, until)
    finally:
        loop.close()
    _tell(pack(result))


def _tell(frame: bytes) -> None:
    sys.stdout.buffer.write(frame)
    sys.stdout.buffer.flush()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    prompt([0], 1, 1)  # makes the text that all prompts are cut from
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # an open loop may need many connections
    gc.disable()  # a pause would count as latency; what a plan leaves is small, and collected after it
    uvloop.run(serve())
