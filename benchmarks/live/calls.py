"""`python -m benchmarks.live.calls [--case CASE] [--names N]`: how many functions a request calls, in the process.

The same requests as `benchmarks.live.inside`, once warm: calls of the service's own functions (a coroutine that goes on
counts as one), and of built-in ones by these. Unlike a time it is the same on a machine that does other work as well.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.live.inside import CASES, CHUNKS, STREAMED, WARM, Deciding, Run

ROOT = f"{Path(__file__).parents[2]}/"
OURS = (f"{ROOT}epp/", "<string>")  # the latter is what `dataclass` makes
COUNTED = 100


class Calls:
    """By name, while it is on."""

    def __init__(self) -> None:
        self.python: Counter[str] = Counter()
        self.built_in: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """What `sys.setprofile` calls."""
        code = frame.f_code
        if not code.co_filename.startswith(OURS):
            return
        if event == "call":
            self.python[f"{code.co_filename.removeprefix(ROOT)}:{code.co_firstlineno} {code.co_qualname}"] += 1
        elif event == "c_call":
            self.built_in[arg.__qualname__] += 1


async def counted(case: str, endpoints: int) -> tuple[Calls, int]:
    """The calls of so many requests, or chunks."""
    run, calls = Run(case, endpoints) if case in STREAMED else Deciding(case, endpoints), Calls()
    await run.round(WARM if case != "chunk" else 3)
    count = COUNTED if case != "chunk" else 10
    sys.setprofile(calls)
    try:
        await run.round(count)
    finally:
        sys.setprofile(None)
    return calls, count * (CHUNKS if case == "chunk" else 1)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live.calls", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--case", choices=CASES, action="append", help="of the cases; all")
    parser.add_argument("--endpoints", type=int, default=16, help="16")
    parser.add_argument("--names", type=int, default=0, help="how many of the functions to name, the most called first")
    args = parser.parse_args()
    for case in args.case or CASES:
        calls, count = asyncio.run(counted(case, args.endpoints))
        python, built_in = (sum(kind.values()) / count for kind in (calls.python, calls.built_in))
        sys.stdout.write(f"{case}: {python:.1f} calls of Python functions, {built_in:.1f} of built-in ones\n")
        for name, times in [*calls.python.most_common(args.names), *calls.built_in.most_common(args.names)]:
            sys.stdout.write(f"  {times / count:6.2f}  {name}\n")


if __name__ == "__main__":
    main()
