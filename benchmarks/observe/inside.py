"""`python -m benchmarks.observe.inside`: what it costs to be seen, within the process, without sockets.

The requests of `benchmarks.live.inside`, which puts the bytes that an Envoy sends into one connection, for OneHop that
counts nothing and keeps nothing (`muted`), with metrics and receipts, and with tracing besides: of a caller that was
not sampled, of no request, of a tenth, of all. All are in one process and take turns, so that noise falls on each, and
the median of the ratios within a turn is told. They are larger than those of `benchmarks.observe`, as sockets cost
both sides the same.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import random
import sys
import time
from statistics import median

import uvloop

from benchmarks.live.inside import CHUNKS, WARM, Run, Service
from benchmarks.observe.__main__ import MUTED, collector
from benchmarks.observe.muted import Muted
from epp.cli.serve import COLLECTOR_THRESHOLDS
from epp.datastore.receipts import Keeping
from epp.edge.http2.limits import Http2Limits
from epp.edge.otel import Tracing

ENDPOINTS = 16
CASES = {"buffered": 1, "duplex": 1, "chunk": CHUNKS}  # case -> what a request is counted as
SAMPLES = {"not sampled": 0.0, "a tenth traced": 0.1, "all traced": 1.0}
PATIENT = Http2Limits(preface_s=math.inf, keepalive_s=math.inf)  # each waits while the others have their turns
VARIANTS = (MUTED, "metrics and receipts", *SAMPLES)


class Turns:
    """Requests of one kind to the service, seen as the variant says."""

    def __init__(self, case: str, variant: str, collector: str) -> None:
        self._tracing = Tracing(SAMPLES[variant], collector) if variant in SAMPLES else None
        if variant == MUTED:
            service = Service(ENDPOINTS, telemetry=Muted, keeping=Keeping(sample=0.0))
        else:
            service = Service(ENDPOINTS, tracing=self._tracing)
        self._run = Run(case, ENDPOINTS, service.processor().methods(), PATIENT)

    async def used_s(self, count: int) -> float:
        """CPU seconds of so many requests, and of the export of their spans."""
        used_s = await self._run.round(count)
        began = time.process_time()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.flush)
        return used_s + time.process_time() - began


async def measured(case: str, turns: int, count: int) -> tuple[float, dict[str, float]]:
    """Least microseconds of the muted one a request (or a chunk), and the median ratio of each other to it."""
    async with collector() as address:
        runs = {variant: Turns(case, variant, address) for variant in VARIANTS}
        for run in runs.values():
            await run.used_s(WARM // CASES[case] + 1)
        gc.freeze()
        gc.set_threshold(*COLLECTOR_THRESHOLDS)  # as the service does
        found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        order, rng = list(VARIANTS), random.Random(1)
        for _ in range(turns):
            rng.shuffle(order)
            for variant in order:
                found[variant].append(await runs[variant].used_s(count // CASES[case] + 1))
    least_us = 1e6 * min(found[MUTED]) / (count // CASES[case] + 1) / CASES[case]
    ratios = {
        variant: median([used / muted for used, muted in zip(found[variant], found[MUTED], strict=True)])
        for variant in VARIANTS
        if variant != MUTED
    }
    return least_us, ratios


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observe.inside", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--requests", type=int, default=300, help="in each turn (300)")
    parser.add_argument("--turns", type=int, default=40, help="of each (40)")
    parser.add_argument("--only", choices=CASES, help="of the cases; all")
    args = parser.parse_args()
    for case in CASES if args.only is None else [args.only]:
        least_us, ratios = uvloop.run(measured(case, args.turns, args.requests))
        told = ", ".join(f"{variant} {ratio:.3f}" for variant, ratio in ratios.items())
        sys.stdout.write(f"{case}: {least_us:.1f} us muted; {told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
