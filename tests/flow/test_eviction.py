"""Who in flight is cut off for others."""

from __future__ import annotations

import asyncio
from typing import Any

from epp.datastore.pool import Pool
from epp.flow.eviction import Evictions, Running
from epp.flow.settings import FlowSettings
from tests.flow import make
from tests.kubeapi import virtual
from tests.make import pool

EVICT = FlowSettings(evict=True, evicted_at_once=2, evict_grace_s=10.0, wait_s_max=100.0)


def runs(over: Pool, place: int, priority: int, began: float = 0.0, evict: Any = None) -> Running:
    return Running(priority, began, over.lease(over.endpoints[place], 1), evict or (lambda: None))


def test_the_lowest_priority_goes_first_and_of_these_the_newest() -> None:
    over, evictions = pool("a"), Evictions(EVICT)
    old, new, lower = runs(over, 0, -1, 1.0), runs(over, 0, -1, 2.0), runs(over, 0, -7, 0.0)
    assert [evictions.add(one) for one in (old, new, lower)] == [True] * 3

    assert evictions.choose(0, over.endpoints, 5.0) == [lower, new]


def test_only_what_may_be_shed_and_only_where_that_is_allowed() -> None:
    over = pool("a")

    assert not Evictions(EVICT).add(runs(over, 0, 0))
    assert not Evictions(FlowSettings()).add(runs(over, 0, -1))


def test_nobody_is_cut_off_for_who_may_be_shed_nor_where_that_would_not_help() -> None:
    over, evictions = pool("a", "b"), Evictions(EVICT)
    evictions.add(runs(over, 0, -5))

    assert evictions.choose(-1, over.endpoints, 0.0) == []
    assert evictions.choose(0, over.endpoints[1:], 0.0) == []


def test_no_more_are_told_before_those_have_ended_or_their_grace_is_over() -> None:
    over, evictions = pool("a"), Evictions(EVICT)
    heard: list[tuple[str, float]] = []
    evictions.over = lambda outcome, seconds: heard.append((outcome, seconds))
    all_ = [runs(over, 0, -1, n) for n in range(6)]
    for one in all_:
        evictions.add(one)
    first = evictions.choose(0, over.endpoints, 0.0)
    assert len(first) == evictions.pending == 2
    assert evictions.choose(0, over.endpoints, 1.0) == []
    evictions.remove(first[0], 1.5)
    evictions.remove(first[0], 1.5)
    second = evictions.choose(0, over.endpoints, 2.0)

    assert len(second) == 1
    assert second[0] not in first
    assert len(evictions.choose(0, over.endpoints, 50.0)) == 2
    assert heard == [("confirmed", 1.5), ("lapsed", 50.0), ("lapsed", 48.0)]


def test_a_gate_cuts_off_as_many_as_needed_and_lets_the_waiting_go_on() -> None:
    async def main() -> None:
        over = pool("a", models={"a": ["m"]})
        gate = make.gate(over, lambda: asyncio.get_running_loop().time(), make.Slots(1), EVICT)
        cut: list[Running] = []

        def evict() -> None:
            cut.append(victim)
            asyncio.get_running_loop().call_later(3.0, victim.lease.close)

        victim = runs(over, 0, -1, evict=evict)
        gate.control.evictions.add(victim)
        sheddable = asyncio.create_task(gate.enter(make.ticket(priority=-1)))
        await asyncio.sleep(1)
        assert cut == []
        await gate.enter(make.ticket(priority=0, arrived=1.0))

        assert cut == [victim]
        assert asyncio.get_running_loop().time() == 4.0
        await sheddable

    virtual.run(main())
