"""What a gate tells of the requests that come to it, and how often it looks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from epp.datastore.pool import Lease, Pool
from epp.domain import Endpoint, Refused
from epp.flow.gate import Gate
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Ticket
from tests.flow import make
from tests.kubeapi import virtual
from tests.make import pool

MODELS = {"a": ["m"]}
Told = tuple[str, str, str, float]


class Recorder:
    """Every event in order: what was told, of whom, the outcome, seconds."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.looks: list[float] = []

    def judged(self, ticket: Ticket, outcome: str, seconds: float) -> None:
        self.told.append(("judged", ticket.request.id, outcome, seconds))

    def looked(self, seconds: float) -> None:
        self.looks.append(seconds)

    def passed(self, ticket: Ticket, outcome: str, waited_s: float) -> None:
        self.told.append(("passed", ticket.request.id, outcome, waited_s))

    def evicted(self, priority: int) -> None:
        self.told.append(("evicted", "", str(priority), 0.0))


def now() -> float:
    return asyncio.get_running_loop().time()


def run(main: Callable[[Gate, Pool, Recorder], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def begun() -> None:
        await asyncio.sleep(10)  # a time that is not 0: a difference of times is no sum of them
        recorder, over = Recorder(), pool("a", models=MODELS)
        await main(make.gate(over, now, settings=FlowSettings(**settings), observer=recorder), over, recorder)

    virtual.run(begun())


def full(over: Pool) -> Lease:
    return over.lease(over.endpoints[0], 100)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_who_finds_room_at_once_was_judged_and_has_passed_without_a_wait() -> None:
    async def main(gate: Gate, over: Pool, recorder: Recorder) -> None:
        await gate.enter(make.ticket("r"))

        assert recorder.told == [("judged", "r", "dispatched", 0.0), ("passed", "r", "dispatched", 0.0)]

    run(main)


def test_who_is_refused_at_once_has_the_code_of_its_refusal() -> None:
    async def main(gate: Gate, over: Pool, recorder: Recorder) -> None:
        full(over)
        gate.close()
        with pytest.raises(Refused):
            await gate.enter(make.ticket("r"))

        assert recorder.told == [("judged", "r", "shutting_down", 0.0), ("passed", "r", "shutting_down", 0.0)]

    run(main)


def test_who_waits_is_told_of_when_it_comes_and_when_it_goes() -> None:
    async def main(gate: Gate, over: Pool, recorder: Recorder) -> None:
        held = full(over)
        waiting = asyncio.create_task(gate.enter(make.ticket("r", arrived=now())))
        await asyncio.sleep(3)
        assert recorder.told == [("judged", "r", "enqueued", 0.0)]
        held.close()
        entry = await waiting

        assert entry.waited_s == 3.0
        assert recorder.told[1:] == [("passed", "r", "dispatched", 3.0)]
        assert set(recorder.looks) == {0.0}

    run(main)


def test_who_leaves_while_it_waits_was_cancelled() -> None:
    async def main(gate: Gate, over: Pool, recorder: Recorder) -> None:
        full(over)
        waiting = asyncio.create_task(gate.enter(make.ticket("r", arrived=now())))
        await asyncio.sleep(2)
        waiting.cancel()
        await asyncio.wait([waiting])

        assert recorder.told[1:] == [("passed", "r", "cancelled", 2.0)]

    run(main)


def test_whose_time_is_over_has_the_code_of_its_refusal() -> None:
    async def main(gate: Gate, over: Pool, recorder: Recorder) -> None:
        full(over)
        with pytest.raises(Refused):
            await gate.enter(make.ticket("r", arrived=now()))

        assert recorder.told[1:] == [("passed", "r", "queue_timeout", 7.0)]

    run(main, wait_s_max=7.0)


def test_however_much_is_freed_at_once_there_is_one_look() -> None:
    async def main(gate: Gate, over: Pool, recorder: Recorder) -> None:
        held = full(over)
        waiting = [asyncio.create_task(gate.enter(make.ticket(str(n), arrived=now()))) for n in range(2)]
        await asyncio.sleep(1)
        before = len(recorder.looks)
        for _ in range(5):
            gate.wake()
        await asyncio.sleep(1)
        assert len(recorder.looks) == before + 1
        gate.wake()
        await asyncio.sleep(1)

        assert len(recorder.looks) == before + 2
        held.close()
        for task in waiting:
            task.cancel()

    run(main)


def test_room_that_comes_when_the_time_is_over_comes_too_late() -> None:
    async def main() -> None:
        over, at = pool("a", models=MODELS), [10.0]
        gate = make.gate(over, lambda: at[0], settings=FlowSettings(wait_s_max=7.0))
        held = full(over)
        waiting = asyncio.create_task(gate.enter(make.ticket("r", arrived=10.0)))
        await settle()
        at[0] = 17.0
        held.close()
        await settle()

        assert isinstance(waiting.exception(), Refused)

    virtual.run(main())


def test_whom_a_look_finds_to_come_too_late_is_told_at_once() -> None:
    class Despairing(make.Slots):
        despairs = False

        def hopeless(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> bool:
            return self.despairs

    async def main() -> None:
        over, rule = pool("a", models=MODELS), Despairing()
        gate = make.gate(over, now, rule)
        full(over)
        waiting = asyncio.create_task(gate.enter(make.ticket()))
        await settle()
        rule.despairs = True
        gate.wake()
        await settle()

        assert isinstance(waiting.exception(), Refused)

    virtual.run(main())


def test_an_end_of_the_client_that_comes_with_a_refusal_leaves_no_error_behind() -> None:
    async def main(gate: Gate, over: Pool, recorder: Recorder) -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        full(over)
        waiting = asyncio.create_task(gate.enter(make.ticket(), lambda: asyncio.sleep(1000)))
        await settle()
        gate.close()
        waiting.cancel()  # while it still asks for more time, and has not seen that it is refused
        await asyncio.wait([waiting])
        del waiting
        gc.collect()

        assert complaints == []

    run(main)
