"""Many requests at once, to replicas of which nothing is known yet."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.e2e.client import chat
from tests.e2e.conftest import WIRINGS, Start, flags_of


@pytest.mark.parametrize("wiring", WIRINGS)
async def test_a_burst_spreads_over_the_replicas_and_leaves_nothing_behind(start: Start, wiring: str) -> None:
    """Nobody answers before all of them are under way: on a crowded machine one replica looks slower than another."""
    envoys, flags = flags_of(wiring)
    texts = [f"{n} tell me something about the number {n}" for n in range(60)]
    async with start(wiring=envoys, serve_flags=flags) as site:
        async with asyncio.TaskGroup() as tasks:
            with site.paused():
                asked = [tasks.create_task(site.post(chat("llama3-8b", text))) for text in texts]
                await site.until(site.in_flight, lambda count: count == len(texts))
        answers = [task.result() for task in asked]
        by_replica = Counter(answer.headers["x-simulated-replica"] for answer in answers)
        await site.idle()

    assert {answer.status for answer in answers} == {200}
    assert len(by_replica) == 3
    assert max(by_replica.values()) / 20 <= 1.2
