"""The real-time clock of a replica: pace, catching up, abort, pause. Compares replica time, never the wall."""

import asyncio
import time

import pytest

from benchmarks.simulator.driver import LATE_SECONDS_MAX, Driver
from tests.simulator import make

FAST = 1e-3


async def test_tokens_come_one_after_the_other_and_then_no_more() -> None:
    driver = Driver(make.replica(), FAST)
    with driver.submit(make.job(prompt=20, output=5)) as ticket:
        seen = [0]
        while seen[-1] < 5:
            seen.append(await ticket.beyond(seen[-1]))

    assert seen == sorted(set(seen))
    assert driver.replica.in_flight == 0


async def test_times_are_exact_in_replica_time_however_late_timers_fire() -> None:
    driver = Driver(make.replica(), FAST)
    with driver.submit(make.job(prompt=20, output=100)) as ticket:
        await ticket.beyond(99)

    assert driver.replica.stats.e2e.sum / FAST == pytest.approx(virtual_seconds(20, 100) + driver.behind_seconds)


async def test_a_process_that_is_busy_for_too_long_loses_time_and_says_how_much() -> None:
    driver = Driver(make.replica(), FAST)
    with driver.submit(make.job(prompt=20, output=50)) as ticket:
        await ticket.beyond(0)
        time.sleep(2 * LATE_SECONDS_MAX)  # noqa: ASYNC251  a handler that hogs the loop is what this is about
        await ticket.beyond(49)

    assert driver.behind_seconds > 0
    assert driver.replica.stats.e2e.sum / FAST == pytest.approx(virtual_seconds(20, 50) + driver.behind_seconds)


def virtual_seconds(prompt: int, output: int) -> float:
    run = make.Run(make.replica())
    run.submit(make.job(prompt, output))
    run.to_the_end()
    return run.now


async def test_now_never_goes_back() -> None:
    driver = Driver(make.replica(), FAST)
    times = [driver.now()]
    for _ in range(20):
        with driver.submit(make.job(prompt=20, output=3)) as ticket:
            for seen in range(3):
                times.append(driver.now())
                await ticket.beyond(seen)
                times.append(driver.now())

    assert times == sorted(times)


async def test_leaving_early_aborts() -> None:
    driver = Driver(make.replica(), 1.0)
    with driver.submit(make.job(prompt=20, output=500)):
        pass

    assert driver.replica.in_flight == 0
    assert driver.replica.stats.aborted == 1
    driver.close()


async def test_a_cancelled_wait_aborts() -> None:
    driver = Driver(make.replica(), 1.0)

    async def ask() -> None:
        with driver.submit(make.job(prompt=20, output=5000)) as ticket:
            await ticket.beyond(4999)

    task = asyncio.create_task(ask())
    await asyncio.sleep(0)
    assert driver.replica.in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert driver.replica.in_flight == 0
    driver.close()


async def test_a_paused_replica_gives_no_tokens_until_it_is_resumed() -> None:
    driver = Driver(make.replica(), FAST)
    driver.pause()
    with driver.submit(make.job(prompt=20, output=1)) as ticket:
        for _ in range(20):
            await asyncio.sleep(0)
        assert driver.replica.generated(ticket.sequence) == 0
        driver.resume()

        assert await ticket.beyond(0) == 1
