"""One cell of the table: so many requests in flight, each a text of its own, for a bounded time."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.classifier.texts import texts_of
from semantic.classifier import Classifier
from semantic.signals.engine import Ask, Engine
from semantic.signals.reader import SignalReader
from semantic.windows import pieces_of

TICK_S = 0.005
AFTER_S = 0.05
NOTHING_S = 0.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement; times in seconds. `requests_per_s` counts texts by the pieces that were read of them.

    Latencies are None where fewer than half of the requests came to an end in the time there was.
    """

    mode: str
    tokens: int
    in_flight: int
    requests: int
    requests_per_s: float
    requests_per_cpu_s: float
    """Of processor time of the whole process, which other work on the machine changes little."""
    p50_s: float | None
    p99_s: float | None
    full: float
    encoded: float
    bytes_read: float
    lag_p99_s: float
    """How late the event loop came to a timer, once in a hundred."""


@dataclass(slots=True)
class Seen:
    """What became of the requests of a cell."""

    took: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    scanned: int = 0
    total: int = 0


async def capacity(engine: Engine, tokens: int, in_flight: int, seconds: float) -> Cell:
    """The encoder asked for every request, and no deadline."""
    return await _cell(engine, "1", tokens, in_flight, (seconds, 10 * seconds))


async def service(engine: Engine, tokens: int, in_flight: int, seconds: float, deadline_s: float) -> Cell:
    """As requests meet it: tier 0 first, and a deadline. Each client asks again when the deadline would have been."""
    return await _cell(engine, "auto", tokens, in_flight, (seconds, deadline_s))


async def beside(engine: Engine, tokens: int, others: int, seconds: float, deadline_s: float) -> Cell:
    """Texts of so many tokens, ten a second, beside `others` long ones that are always in flight."""
    reader = SignalReader(engine, Classifier(engine.encoder), "1")
    loop = asyncio.get_running_loop()
    seen, until = Seen(), loop.time() + seconds
    long, short = texts_of(2048), texts_of(tokens)

    async def keep() -> None:
        while loop.time() < until:
            await reader.read(next(long), loop.time() + deadline_s)
            await asyncio.sleep(AFTER_S)

    tasks = [asyncio.create_task(keep()) for _ in range(others)]
    tasks.append(asyncio.create_task(_lag(seen, until)))
    full = 0

    async def one(text: str) -> None:
        nonlocal full
        began = time.perf_counter()
        found = await reader.read(text, loop.time() + deadline_s)
        seen.took.append(time.perf_counter() - began)
        full += found.level == "full"

    asked = []
    while loop.time() < until:
        asked.append(asyncio.create_task(one(next(short))))
        await asyncio.sleep(0.1)
    await asyncio.gather(*tasks, *asked)
    reader.close()
    took = sorted(seen.took)
    lag = _at(sorted(seen.lags), 0.99)
    p50, p99 = _at(took, 0.5), _at(took, 0.99)
    return Cell(
        "beside", tokens, others, len(took), len(took) / seconds, 0.0, p50, p99, full / len(took), 1.0, 1.0, lag
    )


async def _cell(engine: Engine, tier: Ask, tokens: int, in_flight: int, within: tuple[float, float]) -> Cell:
    """`within` is the seconds of the cell, and of a request."""
    seconds, deadline_s = within
    reader = SignalReader(engine, Classifier(engine.encoder), tier)
    loop = asyncio.get_running_loop()
    began, computed = loop.time(), time.process_time()
    until = began + seconds
    seen, texts = Seen(), texts_of(tokens)
    tasks = [
        asyncio.create_task(_keep(reader, texts, seen, until, deadline_s, pause=tier == "auto"))
        for _ in range(in_flight)
    ]
    lag = asyncio.create_task(_lag(seen, until))
    await asyncio.wait([*tasks, lag], timeout=seconds + deadline_s if tier == "auto" else seconds)
    spent, computed = loop.time() - began, time.process_time() - computed
    unfinished = sum(not task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, lag, return_exceptions=True)
    levels, counts = reader.levels, reader.classifier.counts
    reader.close()
    ended, pieces = len(seen.took), len(pieces_of(next(texts)))
    read = counts.answered / pieces if tier == "1" else ended
    took = sorted(seen.took)
    enough = ended > unfinished
    return Cell(
        "encoder" if tier == "1" else tier,
        tokens,
        in_flight,
        ended,
        read / spent,
        read / computed,
        _at(took, 0.5) if enough else None,
        _at(took, 0.99) if enough else None,
        levels.full / max(ended, 1),
        min(1.0, levels.encoded / max(ended, 1)),
        seen.scanned / max(seen.total, 1),
        _at(sorted(seen.lags), 0.99),
    )


async def _keep(
    reader: SignalReader, texts: Iterator[str], seen: Seen, until: float, deadline_s: float, *, pause: bool
) -> None:
    loop = asyncio.get_running_loop()
    while (began := loop.time()) < until:
        found = await reader.read(next(texts), began + deadline_s)
        seen.took.append(loop.time() - began)
        seen.scanned += found.coverage.scanned_bytes
        seen.total += found.coverage.total_bytes
        await asyncio.sleep(max(0.0, began + deadline_s - loop.time()) if pause else 0)


async def _lag(seen: Seen, until: float) -> None:
    loop = asyncio.get_running_loop()
    while (now := loop.time()) < until:
        await asyncio.sleep(TICK_S)
        seen.lags.append(loop.time() - now - TICK_S)


def _at(values: list[float], share: float) -> float:
    return values[min(int(share * len(values)), len(values) - 1)] if values else NOTHING_S
