"""Throughput and latency of the signals at several lengths and concurrencies, as JSON and as a table.

    python -m benchmarks.classifier --json benchmarks/results/classifier.json --table benchmarks/results/classifier.md

Each cell keeps so many requests in flight, every one a text of its own, for a fixed number of requests. `encoder` asks
the encoder for every request, all heads from one pass; `auto` asks it where tier 0 is not sure. No deadline cuts in.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from semantic.classifier import Classifier
from semantic.signals.engine import Ask, Engine
from semantic.signals.reader import SignalReader

TOKENS = (32, 128, 512, 2048)
CONCURRENCY = (1, 8, 32, 128)
REQUESTS_MIN = 8
TURN_BYTES = 1024
TURN = 4 * (
    "I have a small shop and I would like to know how the interest rates that the central bank sets change what my "
    "customers can pay for a new kitchen, and whether I should lower my prices now or wait until spring. My "
    "accountant, who has been with us for ten years, says that we should keep them, but the numbers of the last "
    "quarter do not look good at all. "
)
LONG_S = 600.0
PUBLISHED = (
    "vSR's own figure, from its pull request 2281 (machine with an RTX 4090; domain, jailbreak and PII classifiers, "
    "500 tokens): 0.2 requests/s on CPU (p50 5.2 s at concurrency 1, 114 s at 32), 65 to 80 requests/s on its GPU "
    "(p50 15 ms and 399 ms). Another machine: the orders of magnitude compare, the numbers do not."
)
WORDS = (
    *(
        "please",
        "explain",
        "how",
        "the",
        "price",
        "of",
        "a",
        "house",
        "depends",
        "on",
        "interest",
        "rates",
        "and",
        "why",
    ),
    *("banks", "lend", "less", "when", "economy", "slows", "write", "short", "function", "that", "sorts", "numbers"),
    *("tell", "me", "what", "could", "go", "wrong", "with", "very", "large", "lists", "data"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement; times in seconds."""

    tier: str
    tokens: int
    concurrency: int
    requests: int
    requests_per_s: float
    p50_s: float
    p99_s: float
    encoded_share: float


def main() -> None:
    """Reads the command line, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, nargs="*", default=TOKENS, help="only these lengths")
    parser.add_argument("--concurrency", type=int, nargs="*", default=CONCURRENCY, help="only these")
    args = parser.parse_args()
    began = time.perf_counter()
    engine = Engine(threads=args.threads)
    engine.read(["warm up"], "1")
    load_s = time.perf_counter() - began
    loads = [os.getloadavg()[0]]
    plan: tuple[tuple[Ask, int, int], ...] = tuple(
        (t, n, c) for t in ("1", "auto") for n in args.tokens for c in args.concurrency
    )
    cells = [asyncio.run(measure(engine, tier, tokens, concurrency)) for tier, tokens, concurrency in plan]
    glance_s = [glance(engine, texts_of(tokens, 60)) for tokens in TOKENS]
    loads.append(os.getloadavg()[0])
    about = {
        "machine": f"{platform.machine()}, {args.threads} threads for the encoder",
        "load_s": round(load_s, 3),
        "memory_max_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "load_average": [round(load, 1) for load in loads],
        "cores": os.cpu_count(),
        "tier0_turn_s": glance(engine, [TURN[n : n + TURN_BYTES] for n in range(60)]),
        "tier0_s": dict(zip(map(str, TOKENS), glance_s, strict=True)),
        "published": PUBLISHED,
    }
    if args.json:
        args.json.write_text(json.dumps({**about, "cells": [asdict(cell) for cell in cells]}, indent=1) + "\n")
    if args.table:
        args.table.write_text(table(cells, about, glance_s))


async def measure(engine: Engine, tier: Ask, tokens: int, concurrency: int) -> Cell:
    """One cell: `concurrency` requests in flight until all are done."""
    reader = SignalReader(engine, Classifier(engine.encoder), tier)
    count = max(REQUESTS_MIN, concurrency)
    texts = iter(texts_of(tokens, count))
    loop = asyncio.get_running_loop()
    took: list[float] = []

    async def ask() -> None:
        for text in texts:
            start = time.perf_counter()
            await reader.read(text, loop.time() + LONG_S)
            took.append(time.perf_counter() - start)

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(concurrency)))
    spent = time.perf_counter() - began
    reader.close()
    took.sort()
    share = reader.levels.encoded / count
    return Cell(tier, tokens, concurrency, count, count / spent, took[count // 2], took[int(count * 0.99)], share)


def texts_of(tokens: int, count: int) -> Sequence[str]:
    """Texts of about so many tokens, no two alike."""
    rng = Random(tokens)
    return [" ".join(rng.choices(WORDS, k=tokens - 2)) for _ in range(count)]


def glance(engine: Engine, texts: Sequence[str]) -> float:
    """Median seconds of tier 0 alone for one text."""
    took = []
    for text in texts:
        start = time.perf_counter()
        engine.glance(text)
        took.append(time.perf_counter() - start)
    return round(sorted(took)[len(took) // 2], 6)


def table(cells: Sequence[Cell], about: dict[str, Any], glance_s: Sequence[float]) -> str:
    """The Markdown page."""
    lines = [
        "# How fast the semantic stage reads",
        "",
        f"Every signal of every request, one process; {about['machine']}, on {about['cores']} cores that other work",
        f"shared (load average {about['load_average'][0]} at the start, {about['load_average'][1]} at the end): ratios "
        "inside the table",
        "carry over, absolute times are pessimistic by an unknown factor.",
        "Texts are random words, of which tier 0 is rarely sure. 128 texts of 2,048 tokens are more pieces than may",
        "wait at once: part of each is then left unread, and its coverage says so.",
        "Made by `python -m benchmarks.classifier`.",
        "",
        f"Loading and one pass: {about['load_s']} s. Highest resident memory of the benchmark: "
        f"{about['memory_max_mib']} MiB.",
        "",
        "Tier 0 alone, median per text: "
        + ", ".join(f"{n} tokens {1e3 * s:.2f} ms" for n, s in zip(TOKENS, glance_s, strict=True))
        + f"; a user's turn of {TURN_BYTES} bytes {1e3 * about['tier0_turn_s']:.2f} ms.",
        "",
        "| tier | tokens | in flight | requests/s | p50 ms | p99 ms | encoder ran for |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in cells:
        times = f"{c.requests_per_s:.1f} | {1e3 * c.p50_s:.1f} | {1e3 * c.p99_s:.1f}"
        name = "encoder" if c.tier == "1" else c.tier
        lines.append(f"| {name} | {c.tokens} | {c.concurrency} | {times} | {c.encoded_share:.0%} |")
    return "\n".join([*lines, "", PUBLISHED, ""])


if __name__ == "__main__":
    main()
