"""A coroutine that runs without a task, and can tell no difference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from epp.edge.http2.drive import Drive, parked
from tests.edge.until import until

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Driven:
    """A drive that is started from the loop, as it must be, and what became of it."""

    def __init__(self, run: Coroutine[Any, Any, None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended: list[BaseException | None] = []
        self.drive = Drive(run, self.loop, self.ended.append)

    async def do(self, *steps: Callable[[], object]) -> None:
        """Each from the loop, and then some turns of it."""
        for step in steps:
            self.loop.call_soon(step)
            for _ in range(5):
                await asyncio.sleep(0)


async def test_it_goes_on_in_the_call_that_brings_what_it_waits_for() -> None:
    seen: list[int] = []

    async def run() -> None:
        for number in range(3):
            seen.append(number)
            await parked()

    driven = Driven(run())
    looks: list[int] = []

    def twice() -> None:
        driven.drive.start()
        driven.drive.go_on()
        looks.append(len(seen))

    await driven.do(twice)

    assert looks == [2]
    await driven.do(driven.drive.go_on, driven.drive.go_on)
    assert driven.ended == [None]


async def test_futures_and_sleeps_work_and_going_on_does_not_disturb_them() -> None:
    future = asyncio.get_running_loop().create_future()
    seen: list[object] = []

    async def run() -> None:
        await asyncio.sleep(0)
        seen.append(await future)
        await asyncio.sleep(0.001)

    driven = Driven(run())
    await driven.do(driven.drive.start, driven.drive.go_on, lambda: future.set_result("it"))
    await until(lambda: driven.ended)

    assert seen == ["it"]
    assert driven.ended == [None]


async def test_asyncios_timeout_works_in_it() -> None:
    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await parked()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        await asyncio.wait_for(asyncio.sleep(0), 10)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(0))

    driven = Driven(run())
    await driven.do(driven.drive.start)
    await until(lambda: driven.ended)

    assert driven.ended == [None]


@pytest.mark.parametrize("wait", [parked, lambda: asyncio.Event().wait(), lambda: asyncio.sleep(10)])
async def test_it_is_cancelled_where_it_waits(wait: Callable[[], Any]) -> None:
    cleaned: list[bool] = []

    async def run() -> None:
        try:
            await wait()
        finally:
            cleaned.append(True)

    driven = Driven(run())
    await driven.do(driven.drive.start, driven.drive.cancel)

    assert cleaned == [True]
    assert isinstance(driven.ended[0], asyncio.CancelledError)
    assert driven.drive.done()
    assert not driven.drive.cancel()


async def test_a_message_that_comes_with_a_cancellation_does_not_step_it_twice() -> None:
    steps: list[str] = []

    async def run() -> None:
        try:
            await parked()
            steps.append("went on")
        except asyncio.CancelledError:
            steps.append("cancelled")

    driven = Driven(run())

    def both() -> None:
        driven.drive.cancel()
        driven.drive.go_on()

    await driven.do(driven.drive.start, both)

    assert steps == ["cancelled"]
    assert driven.ended == [None]


async def test_cancelled_while_it_runs_it_stops_at_its_next_wait() -> None:
    seen: list[str] = []

    async def run() -> None:
        driven.drive.cancel()
        seen.append("still here")
        await parked()
        seen.append("never")

    driven = Driven(run())
    await driven.do(driven.drive.start)

    assert seen == ["still here"]
    assert isinstance(driven.ended[0], asyncio.CancelledError)


async def test_who_takes_a_cancellation_back_goes_on_and_is_not_cancelled_again() -> None:
    seen: list[str] = []

    async def run() -> None:
        driven.drive.cancel()
        for _ in range(2):
            try:
                await parked()
                seen.append("went on")
            except asyncio.CancelledError:
                seen.append("cancelled")

    driven = Driven(run())
    await driven.do(driven.drive.start, driven.drive.go_on)

    assert seen == ["cancelled", "went on"]
    assert driven.ended == [None]


async def test_cancellations_are_counted_as_a_task_counts_them() -> None:
    counts: list[int] = []

    async def run() -> None:
        for _ in range(2):
            try:
                await parked()
            except asyncio.CancelledError:
                counts.append(driven.drive.cancelling())
        counts.extend(driven.drive.uncancel() for _ in range(3))

    driven = Driven(run())
    await driven.do(driven.drive.start, driven.drive.cancel, driven.drive.cancel_now)

    assert counts == [1, 2, 1, 0, 0]


async def test_what_it_raises_is_told_and_what_it_sets_stays_its_own() -> None:
    async def run() -> None:
        WHO.set("it")
        await parked()
        assert WHO.get() == "it"
        raise KeyError("it")

    driven = Driven(run())
    await driven.do(driven.drive.start, driven.drive.go_on)

    assert isinstance(driven.ended[0], KeyError)
    assert WHO.get() == "nobody"


async def test_it_is_the_current_task_while_it_runs() -> None:
    seen: list[object] = []

    async def run() -> None:
        seen.append(asyncio.current_task())

    driven = Driven(run())
    await driven.do(driven.drive.start)

    assert seen == [driven.drive]


async def test_what_no_task_could_wait_for_is_an_error_in_it() -> None:
    class Odd:
        def __await__(self) -> Any:
            yield "odd"

    async def run() -> None:
        await Odd()

    driven = Driven(run())
    await driven.do(driven.drive.start)

    assert isinstance(driven.ended[0], RuntimeError)


async def test_one_that_is_parked_is_cancelled_in_the_very_call_and_any_other_soon() -> None:
    seen: list[str] = []

    async def parks() -> None:
        await parked()

    async def sleeps() -> None:
        await asyncio.sleep(60)

    parking, sleeping = Driven(parks()), Driven(sleeps())

    def end(driven: Driven) -> None:
        driven.drive.start()
        driven.drive.cancel_now()
        seen.append("at once" if driven.ended else "not yet")

    await parking.do(lambda: end(parking))
    await sleeping.do(lambda: end(sleeping))

    assert seen == ["at once", "not yet"]
    for driven in (parking, sleeping):
        assert [type(error) for error in driven.ended] == [asyncio.CancelledError]
