"""Work that is asked for many times and done a few."""

from __future__ import annotations

import asyncio

from epp.edge.together import PAUSE_S_MAX, SHARE, Together
from tests.edge.until import until


async def test_what_is_asked_for_at_once_is_done_once() -> None:
    done: list[int] = []
    work = Together(lambda: done.append(1))
    for _ in range(1000):
        work.soon()
    await until(lambda: done)
    await asyncio.sleep(0)

    assert done == [1]


async def test_what_is_asked_for_while_it_is_done_is_done_again() -> None:
    done: list[int] = []

    def again() -> None:
        done.append(len(done))
        if len(done) < 3:
            work.soon()

    work = Together(again)
    work.soon()
    await until(lambda: len(done) == 3)


async def test_dear_work_waits_for_company_and_not_for_ever() -> None:
    loop = asyncio.get_running_loop()
    delays: list[float] = []
    costs = [0.02, 0.0, 60.0, 0.0]
    now = loop.time()

    def dear() -> None:
        nonlocal now
        now += costs[len(delays) - 1]

    class Loop:
        def time(self) -> float:
            return now

        def call_later(self, delay: float, do: object) -> object:
            delays.append(delay)
            return loop.call_soon(do)  # type: ignore[arg-type]

    work = Together(dear, loop=Loop)  # type: ignore[arg-type]
    for _ in costs:
        before = len(delays)
        work.soon()
        await until(lambda before=before: len(delays) == before + 1)  # type: ignore[misc]
        await asyncio.sleep(0)

    assert [round(delay, 6) for delay in delays] == [0.0, round(0.02 / SHARE, 6), 0.0, PAUSE_S_MAX]


async def test_what_is_stopped_is_not_done() -> None:
    done: list[int] = []
    work = Together(lambda: done.append(1))
    work.soon()
    work.stop()
    await asyncio.sleep(0.01)
    work.stop()

    assert done == []
