"""The longest turn of the event loop that one long prompt takes: how long all other requests wait for it at once.

    python -m benchmarks.classifier.turns [--bytes 220000 1048576]

Every kind of signal that reads words is configured; the prompt is routed within 250 ms, and asked of the classification
API. Turns are counted in processor time of the loop's thread, which other work on the machine changes little.
"""

import argparse
import asyncio
import sys
import time
from asyncio.events import Handle
from collections.abc import Awaitable, Callable
from contextlib import suppress

from semantic.asked import Asked
from semantic.config import read_config
from semantic.router import SemanticRouter
from semantic.service import ClassificationService, NotAvailable
from semantic.signals.heads import HeadSignals

DEADLINE_S = 0.25
CONFIG = """
version: v0.3
providers: {defaults: {default_model: big}, models: [{name: big}, {name: small}]}
routing:
  modelCards: [{name: big}, {name: small}]
  signals:
    keywords:
      - {name: words, keywords: [urgent, immediate, 'pass\\w+ reset', '(foo|bar)+qux']}
      - {name: ranked, method: bm25, keywords: [database, kubernetes]}
      - {name: grams, method: ngram, keywords: [hallucination]}
      - {name: near, method: fuzzy, keywords: [acknowledgement]}
    domains: [{name: math}]
    jailbreak: [{name: attack}]
    pii: [{name: people}]
  decisions:
    - name: words
      rules:
        operator: OR
        conditions:
          - {type: keyword, name: words}
          - {type: keyword, name: ranked}
          - {type: keyword, name: grams}
          - {type: keyword, name: near}
          - {type: jailbreak, name: attack}
          - {type: pii, name: people}
      modelRefs: [{model: big}]
    - {name: math, rules: {type: domain, name: math}, modelRefs: [{model: small}]}
"""
PARTS = {
    "prose": "The committee met on Tuesday and asked Anna Miller to write (in 3 days) what she thought of the budget. ",
    "addresses": "ann.miller@example.com, ",
    "numbers": "0123 456 789 01 ",
    "one word": "a",
    "Chinese": "机器学习是什么呢请告诉我",
    "links": "https://a.example.com/x?y=1 ",
}


def main() -> None:
    """Reads the command line, measures, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, nargs="*", default=[220_000, 1_048_576])
    args = parser.parse_args()
    asyncio.run(_table(args.bytes))


async def _table(sizes: list[int]) -> None:
    router = SemanticRouter(read_config(CONFIG), HeadSignals.load())
    await asyncio.to_thread(router.prepare)
    service = ClassificationService(lambda: router)
    sys.stdout.write(
        "| text | bytes | routed, ms | longest turn, ms | API, ms | longest turn, ms |\n|---|---|---|---|---|---|\n"
    )

    async def routed(text: str) -> None:
        await router.choose(Asked([("user", text)]), DEADLINE_S)

    async def looked(text: str) -> None:
        with suppress(NotAvailable):
            await service.pii({"text": text})

    await _longest(routed, "What is 2 + 2? Please explain it, and tell Anna.")
    for size in sizes:
        for name, part in PARTS.items():
            text = part * (size // len(part.encode()))
            found = [f"{1e3 * value:.1f}" for ask in (routed, looked) for value in await _longest(ask, text)]
            sys.stdout.write(f"| {name} | {size} | {' | '.join(found)} |\n")
    router.close()
    router.signals.close()


async def _longest(ask: Callable[[str], Awaitable[None]], text: str) -> tuple[float, float]:
    """Seconds until the answer, and of the longest turn."""
    longest = 0.0
    run = Handle._run

    def timed(handle: Handle) -> None:
        nonlocal longest
        began = time.thread_time()
        run(handle)
        longest = max(longest, time.thread_time() - began)

    Handle._run = timed  # type: ignore[assignment, method-assign]  # asyncio has no hook for it
    try:
        began = time.perf_counter()
        await asyncio.ensure_future(ask(text))
        return time.perf_counter() - began, longest
    finally:
        Handle._run = run  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
