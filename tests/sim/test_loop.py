"""The virtual loop runs what asyncio code asks of a loop, in order of time."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.sim.loop import VirtualLoop


def test_what_is_due_at_one_moment_runs_in_the_order_in_which_it_was_asked_for() -> None:
    loop, seen = VirtualLoop(), list[tuple[str, float]]()
    for name, when in (("late", 3.0), ("first", 1.0), ("second", 1.0)):
        loop.at(when, lambda name: seen.append((name, loop.time())), name)
    loop.run()
    loop.close()

    assert seen == [("first", 1.0), ("second", 1.0), ("late", 3.0)]


def test_a_coroutine_that_never_waits_is_done_at_once_and_without_a_task() -> None:
    loop, seen = VirtualLoop(), list[int]()

    async def plain() -> int:
        return 7

    loop.drive(plain(), seen.append)
    loop.close()

    assert seen == [7]


def test_a_coroutine_that_waits_for_futures_and_timers_goes_on_when_they_are_due() -> None:
    loop, seen = VirtualLoop(), list[tuple[str, float]]()

    async def waits() -> str:
        running = asyncio.get_running_loop()
        door = running.create_future()
        running.call_later(5.0, door.set_result, "open")
        first = await door
        await asyncio.sleep(2.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.create_future(), 1.0)
        return str(first)

    loop.at(1.0, lambda _: loop.drive(waits(), lambda found: seen.append((found, loop.time()))))
    loop.run()
    loop.close()

    assert seen == [("open", 9.0)]


def test_what_fails_while_waiting_is_raised_where_it_waits() -> None:
    loop, seen = VirtualLoop(), list[str]()

    async def waits() -> str:
        door: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.0, door.set_exception, ValueError("shut"))
        try:
            await door
        except ValueError as error:
            return str(error)
        return ""

    loop.at(0.0, lambda _: loop.drive(waits(), seen.append))
    loop.run()
    loop.close()

    assert seen == ["shut"]


def test_a_cancelled_timer_does_nothing() -> None:
    loop, seen = VirtualLoop(), list[int]()
    loop.call_later(1.0, seen.append, 1).cancel()
    loop.call_later(2.0, seen.append, 2)
    loop.run()
    loop.close()

    assert seen == [2]


def test_an_exception_that_asyncio_would_log_ends_the_run() -> None:
    loop = VirtualLoop()

    def fails() -> None:
        raise ZeroDivisionError

    loop.call_later(1.0, fails)
    with pytest.raises(ZeroDivisionError):
        loop.run()
    loop.close()
