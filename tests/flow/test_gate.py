"""The gate in virtual time: who waits, who is let go, and that nobody who leaves leaves anything behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from epp.datastore.pool import Lease, Pool
from epp.domain import Cost, Reason, Refused
from epp.flow.gate import Entry, Gate
from epp.flow.settings import BandSettings, FlowSettings
from epp.flow.ticket import Ticket
from tests.flow import make
from tests.kubeapi import virtual
from tests.make import pool

TWO = {"a": ["m"], "b": ["n"]}


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    virtual.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


async def through(gate: Gate, over: Pool, ticket: Ticket) -> Lease:
    """What the director does: enter, then take a lease without any wait."""
    entry = await gate.enter(ticket)
    room = entry.room if entry.room is not None else over.endpoints
    return over.lease(min(room, key=lambda e: e.inflight_requests), ticket.request.prompt_tokens)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_request_that_finds_room_does_not_wait() -> None:
    over = pool("a", models=TWO)
    gate = make.gate(over, lambda: 0.0)
    entering = gate.enter(make.ticket())

    with pytest.raises(StopIteration) as done:
        entering.send(None)  # no event loop is needed where nothing is awaited
    assert done.value.value == Entry(None)


def test_room_for_one_lets_one_in() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now)
        held = await through(gate, over, make.ticket("1"))
        waiting = [asyncio.create_task(through(gate, over, make.ticket(str(n), arrived=n))) for n in (2, 3)]
        await settle()
        assert [task.done() for task in waiting] == [False, False]
        held.close()
        await settle()

        assert [task.done() for task in waiting] == [True, False]
        assert over.endpoints[0].inflight_requests == 1
        waiting[0].result().close()
        (await waiting[1]).close()
        assert over.endpoints[0].inflight_requests == 0

    run(main)


def test_who_is_let_go_counts_before_it_runs() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now)
        held = await through(gate, over, make.ticket())
        waiting = asyncio.create_task(through(gate, over, make.ticket(arrived=1)))
        await settle()
        held.close()
        gate._look()

        assert not waiting.done()
        assert over.endpoints[0].inflight_requests == 1
        assert gate.control.rule.room(make.ticket(), over.endpoints, 0.0) == []
        (await waiting).close()

    run(main)


def test_a_saturated_model_holds_nobody_who_accepts_an_idle_one() -> None:
    async def main() -> None:
        over = pool("a", "b", models=TWO)
        gate = make.gate(over, now)
        held = await through(gate, over, make.ticket("1", "m"))
        waiting = asyncio.create_task(through(gate, over, make.ticket("2", "m")))
        await settle()
        other = await gate.enter(make.ticket("3", "n"))
        either = await gate.enter(make.ticket("4", "m", "n", arrived=5))

        assert not waiting.done()
        assert other.room is None
        assert [e.name for e in either.room or ()] == ["b"]
        waiting.cancel()
        held.close()

    run(main)


def test_a_queue_is_released_by_the_first_of_its_candidates_that_has_room() -> None:
    async def main() -> None:
        over = pool("a", "b", models=TWO)
        gate = make.gate(over, now)
        held = [await through(gate, over, make.ticket("1", "m")), await through(gate, over, make.ticket("2", "n"))]
        waiting = asyncio.create_task(through(gate, over, make.ticket("3", "m", "n")))
        await settle()
        held[1].close()

        assert (await waiting).endpoint.name == "b"
        held[0].close()

    run(main)


@pytest.mark.parametrize(("priority", "first"), [(0, "waiting"), (-1, "waiting"), (1, "newcomer")])
def test_nobody_overtakes_who_waits_but_by_priority(priority: int, first: str) -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now)
        held = await through(gate, over, make.ticket())
        waiting = asyncio.create_task(through(gate, over, make.ticket("waiting", arrived=1.0)))
        await settle()
        newcomer = asyncio.create_task(through(gate, over, make.ticket("new", arrived=2.0, priority=priority)))
        held.close()  # the newcomer runs before the gate looks at this
        await settle()

        assert (waiting.done(), newcomer.done()) == (first == "waiting", first == "newcomer")
        for task in (waiting, newcomer):
            if task.done():
                task.result().close()
            task.cancel()

    run(main)


@pytest.mark.parametrize("moment", ["waiting", "booked"])
def test_who_gives_up_leaves_nothing_and_the_next_is_let_go(moment: str) -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now)
        held = await through(gate, over, make.ticket())
        first, second = (
            asyncio.create_task(through(gate, over, make.ticket(str(n), arrived=n, tenant=str(n)))) for n in (1, 2)
        )
        await settle()
        if moment == "waiting":
            first.cancel()
        held.close()
        if moment == "booked":
            gate._look()
            assert over.endpoints[0].inflight_requests == 1
            first.cancel()
        lease = await second

        assert first.cancelled()
        assert over.endpoints[0].inflight_requests == 1
        assert len(gate) == len(gate.control.queues) == 0
        lease.close()
        assert over.endpoints[0].inflight_tokens == over.endpoints[0].inflight_requests == 0

    run(main)


def test_who_is_cancelled_while_it_asks_for_more_time_leaves_nothing() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now)
        held = await through(gate, over, make.ticket())

        async def never() -> None:
            await asyncio.sleep(1000)

        task = asyncio.create_task(gate.enter(make.ticket(), never))
        await settle()
        held.close()
        gate._look()  # let go while it still asks
        task.cancel()
        await settle()

        assert task.cancelled()
        assert over.endpoints[0].inflight_requests == len(gate) == 0

    run(main)


def test_a_wait_ends_when_its_time_is_over_and_there_is_one_timer() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now, settings=FlowSettings(wait_s_max=7.0))
        held = await through(gate, over, make.ticket())
        late = [asyncio.create_task(gate.enter(make.ticket(str(n)))) for n in range(3)]
        await asyncio.sleep(2)
        later = asyncio.create_task(gate.enter(make.ticket(wait_s_max=1.0)))
        with pytest.raises(Refused) as first:
            await later
        assert now() == 3.0
        assert first.value.reason is Reason.QUEUE_TIMEOUT
        with pytest.raises(Refused):
            await late[0]

        assert now() == 7.0
        await settle()
        assert all(task.done() and isinstance(task.exception(), Refused) for task in late)
        assert gate._timer is None
        held.close()

    run(main)


def test_nobody_there_is_waited_for_where_that_is_asked_for_and_time_counts_anew_when_somebody_comes() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        listed = over.endpoints
        over.endpoints = ()
        gate = make.gate(over, now, settings=FlowSettings(wait_s_max=5.0, hold_s=60.0))
        tasks = [asyncio.create_task(through(gate, over, make.ticket(str(n)))) for n in range(2)]
        await asyncio.sleep(50)
        over.endpoints = listed
        gate.wake()
        await settle()
        assert [task.done() for task in tasks] == [True, False]
        with pytest.raises(Refused) as late:
            await tasks[1]

        assert now() == 55.0
        assert late.value.reason is Reason.QUEUE_TIMEOUT
        tasks[0].result().close()

    run(main)


def test_when_the_last_endpoint_goes_all_that_wait_are_held_whatever_their_priority() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now, settings=FlowSettings(wait_s_max=5.0, hold_s=60.0))
        held = await through(gate, over, make.ticket())
        tasks = [asyncio.create_task(gate.enter(make.ticket(priority=priority))) for priority in (1, 0, -1)]
        await asyncio.sleep(1)
        over.endpoints = ()
        gate.wake()
        with pytest.raises(Refused) as late:
            await tasks[2]

        assert now() == 61.0
        assert late.value.reason is Reason.NO_ENDPOINTS
        await settle()
        assert all(isinstance(task.exception(), Refused) for task in tasks)
        held.close()

    run(main)


def test_a_first_token_makes_room() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now, make.own_rule())
        lease = over.lease(over.endpoints[0], Cost(work_s=1.5))
        waiting = asyncio.create_task(gate.enter(make.ticket()))
        await asyncio.sleep(0.25)
        lease.prefilled(now())
        await waiting

        assert now() == 0.25
        lease.close()

    run(main)


def test_a_prefill_that_nobody_shows_us_makes_room_when_it_should_be_over() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now, make.own_rule())
        lease = over.lease(over.endpoints[0], Cost(work_s=1.5, blind=True), now=now())
        await gate.enter(make.ticket())

        assert now() == 1.5
        lease.close()

    run(main)


def test_nobody_ever_comes() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        over.endpoints = ()
        gate = make.gate(over, now, settings=FlowSettings(hold_s=60.0))
        with pytest.raises(Refused) as late:
            await gate.enter(make.ticket())

        assert now() == 60.0
        assert late.value.reason is Reason.NO_ENDPOINTS

    run(main)


def test_nobody_is_held_for_longer_than_the_gateway_bears() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        over.endpoints = ()
        gate = make.gate(over, now, settings=FlowSettings(hold_s=60.0))
        with pytest.raises(Refused) as late:
            await gate.enter(make.ticket(wait_s_max=2.0))

        assert now() == 2.0
        assert late.value.reason is Reason.NO_ENDPOINTS

    run(main)


def test_without_a_hold_an_empty_pool_is_for_others_to_refuse() -> None:
    over = pool("a")
    over.endpoints = ()
    entering = make.gate(over, lambda: 0.0).enter(make.ticket())

    with pytest.raises(StopIteration):
        entering.send(None)


def test_a_defect_of_a_rule_makes_nobody_wait_for_ever() -> None:
    class Broken(make.Slots):
        broken = False

        def room(self, *args: Any) -> Any:
            if self.broken:
                raise ZeroDivisionError
            return super().room(*args)

    async def main() -> None:
        over, rule = pool("a", models=TWO), Broken()
        gate = make.gate(over, now, rule)
        held = await through(gate, over, make.ticket())
        tasks = [asyncio.create_task(gate.enter(make.ticket(str(n)))) for n in range(3)]
        await settle()
        rule.broken = True
        held.close()
        await settle()

        assert [type(task.exception()) for task in tasks] == [ZeroDivisionError] * 3
        assert len(gate) == len(gate.control.queues) == 0

    run(main)


def test_closing_refuses_those_that_wait_and_those_that_would() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        gate = make.gate(over, now)
        held = await through(gate, over, make.ticket())
        waiting = asyncio.create_task(gate.enter(make.ticket()))
        await settle()
        gate.close()
        for entering in (waiting, gate.enter(make.ticket())):
            with pytest.raises(Refused) as closed:
                await entering
            assert closed.value.reason is Reason.SHUTTING_DOWN
        held.close()

        assert (await gate.enter(make.ticket())).room is None

    run(main)


def test_a_full_queue_refuses_or_gives_a_place_to_who_had_less() -> None:
    async def main() -> None:
        over = pool("a", models=TWO)
        settings = FlowSettings(requests_max=2, band=BandSettings(order="fcfs"))
        gate = make.gate(over, now, settings=settings)
        held = await through(gate, over, make.ticket(tenant="greedy", tokens=1000))
        greedy = [asyncio.create_task(gate.enter(make.ticket(str(n), tenant="greedy", arrived=n))) for n in (1, 2)]
        await settle()
        with pytest.raises(Refused) as full:
            await gate.enter(make.ticket(tenant="greedy"))
        assert full.value.reason is Reason.QUEUE_FULL
        modest = asyncio.create_task(gate.enter(make.ticket(priority=1)))
        await settle()

        displaced = [task.exception() for task in greedy if task.done()]
        assert [error.reason for error in displaced if isinstance(error, Refused)] == [Reason.DISPLACED]
        assert not modest.done()
        assert len(gate.control.queues) == 2
        for task in (*greedy, modest):
            task.cancel()
        held.close()

    run(main)
