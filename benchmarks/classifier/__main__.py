"""Throughput and latency of the signals at several lengths and concurrencies, as JSON and as a table.

    python -m benchmarks.classifier --json benchmarks/results/classifier.json --table benchmarks/results/classifier.md

Each cell keeps so many requests in flight, every one a text of its own, for a fixed time: with the encoder for every
request and no deadline, then as requests meet the stage, and last short prompts beside long ones. About five minutes.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.classifier.cells import Cell, beside, capacity, service
from benchmarks.classifier.texts import TURN, TURN_BYTES, texts_of
from semantic.signals.engine import Engine

TOKENS = (32, 128, 512, 2048)
IN_FLIGHT = (1, 8, 32, 128)
BESIDE = (0, 1, 8, 32)
DEADLINE_S = 0.25
"""What `--classify-deadline` is unless it is set."""
BY_HAND = "<!-- The above is written by the command, what follows by hand. -->"
PUBLISHED = (
    "vSR's own figure, from its pull request 2281 (machine with an RTX 4090; domain, jailbreak and PII classifiers, "
    "500 tokens): 0.2 requests/s on CPU (p50 5.2 s at concurrency 1, 114 s at 32), 65 to 80 requests/s on its GPU "
    "(p50 15 ms at concurrency 1, 399 ms at 32). Another machine: the orders of magnitude compare, the numbers do not."
)


def main() -> None:
    """Reads the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, nargs="*", default=TOKENS, help="only these lengths")
    parser.add_argument("--in-flight", type=int, nargs="*", default=IN_FLIGHT, help="only these")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each cell")
    args = parser.parse_args()
    began = time.perf_counter()
    engine = Engine(threads=args.threads)
    engine.read(["warm up"], "1")
    load_s = time.perf_counter() - began
    loads = [os.getloadavg()[0]]
    cells = [asyncio.run(capacity(engine, n, c, args.seconds)) for n in args.tokens for c in args.in_flight]
    cells += [asyncio.run(service(engine, n, c, args.seconds, DEADLINE_S)) for n in args.tokens for c in args.in_flight]
    cells += [asyncio.run(beside(engine, 32, others, args.seconds, DEADLINE_S)) for others in BESIDE]
    glance_s = {tokens: glance(engine, list(islice(texts_of(tokens), 60))) for tokens in TOKENS}
    loads.append(os.getloadavg()[0])
    about = {
        "machine": f"{platform.machine()}, {args.threads} threads for the encoder",
        "load_s": round(load_s, 3),
        "memory_max_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load_average": [round(load, 1) for load in loads],
        "cores": os.cpu_count(),
        "seconds": args.seconds,
        "deadline_s": DEADLINE_S,
        "tier0_turn_s": glance(engine, [TURN[n : n + TURN_BYTES] for n in range(60)]),
        "tier0_s": glance_s,
        "published": PUBLISHED,
    }
    if args.json:
        args.json.write_text(json.dumps({**about, "cells": [asdict(cell) for cell in cells]}, indent=1) + "\n")
    page = table(cells, about)
    if args.table:
        args.table.write_text(page + _by_hand(args.table))
    else:
        sys.stdout.write(page)


def glance(engine: Engine, texts: Sequence[str]) -> float:
    """Median seconds of tier 0 alone for one text."""
    took = []
    for text in texts:
        start = time.perf_counter()
        engine.glance(text)
        took.append(time.perf_counter() - start)
    return round(sorted(took)[len(took) // 2], 6)


def table(cells: Sequence[Cell], about: Mapping[str, Any]) -> str:
    """The Markdown page."""
    tier0 = ", ".join(f"{n} tokens {1e3 * s:.2f} ms" for n, s in about["tier0_s"].items())
    lines = [
        "# How fast the semantic stage reads",
        "",
        f"Every signal of every request, one process; {about['machine']}, on {about['cores']} cores that other work",
        f"shared (load average {about['load_average'][0]} at the start, {about['load_average'][1]} at the end): ratios "
        "inside the table",
        "carry over, absolute times are pessimistic by an unknown factor. Texts are random words, of which tier 0 is",
        f"rarely sure. Each cell has {about['seconds']:g} s. Made by "
        f"`python -m benchmarks.classifier --seconds {about['seconds']:g}`.",
        "",
        f"Loading and one pass: {about['load_s']} s. Highest resident memory of the benchmark: "
        f"{about['memory_max_mib']} MiB.",
        "",
        f"Tier 0 alone, median per text: {tier0}; a user's turn of {TURN_BYTES} bytes "
        f"{1e3 * about['tier0_turn_s']:.2f} ms.",
        "",
        PUBLISHED,
        "",
        "## The encoder for every request, no deadline",
        "",
        "Requests a second are counted by the pieces read of them; latencies are left out where fewer than half of the",
        "requests in flight came to an end.",
        "",
        "| tokens | in flight | requests/s | requests/s of processor time | p50 ms | p99 ms | loop late p99 ms |",
        "|---|---|---|---|---|---|---|",
        *(
            _row(c, f"{c.requests_per_s:.1f}", f"{c.requests_per_cpu_s:.1f}", _ms(c.p50_s), _ms(c.p99_s))
            for c in cells
            if c.mode == "encoder"
        ),
        "",
        f"## As requests meet it: tier 0 first, a deadline of {1e3 * about['deadline_s']:.0f} ms",
        "",
        "Each of so many clients sends its next request when the deadline of the one before has passed: at 128 of them",
        "512 a second. Full: all that was wanted is known; the others are degraded, and their signals unknown.",
        "",
        "| tokens | clients | requests/s | p50 ms | p99 ms | full | encoder asked | bytes read | loop late p99 ms |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            _row(
                c,
                f"{c.requests_per_s:.1f}",
                _ms(c.p50_s),
                _ms(c.p99_s),
                f"{c.full:.0%}",
                f"{c.encoded:.0%}",
                f"{c.bytes_read:.0%}",
            )
            for c in cells
            if c.mode == "auto"
        ),
        "",
        "## Short prompts beside long ones",
        "",
        "Prompts of 32 tokens, ten a second, all asking the encoder, beside so many prompts of 2,048 tokens that are",
        "always in flight; the same deadline.",
        "",
        "| tokens | long ones in flight | p50 ms | p99 ms | full | loop late p99 ms |",
        "|---|---|---|---|---|---|",
        *(_row(c, _ms(c.p50_s), _ms(c.p99_s), f"{c.full:.0%}") for c in cells if c.mode == "beside"),
    ]
    return "\n".join([*lines, ""])


def _by_hand(page: Path) -> str:
    """What an earlier page says below the tables of this command."""
    _, mark, rest = page.read_text(encoding="utf-8").partition(BY_HAND) if page.exists() else ("", "", "")
    return f"\n{mark}{rest}" if mark else ""


def _row(cell: Cell, *values: str) -> str:
    return "| " + " | ".join([str(cell.tokens), str(cell.in_flight), *values, _ms(cell.lag_p99_s)]) + " |"


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.1f}"


if __name__ == "__main__":
    main()
