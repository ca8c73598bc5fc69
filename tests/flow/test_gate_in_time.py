"""Many clients at one gate in virtual time, from a seed: whatever they do, nobody is forgotten, nothing is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from epp.datastore.pool import Pool
from epp.domain import Reason, Refused
from epp.flow.gate import Gate
from epp.flow.settings import BandSettings, FlowSettings
from tests.flow import make
from tests.kubeapi import virtual
from tests.make import pool

MODELS = {"a": ["m"], "b": ["m", "n"], "c": ["n"]}
SLOTS = 3
CLIENTS = 400


class Town:
    """Clients that come at random, wait, are served for a while, or give up; counts how each ended."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.pool: Pool = pool(*MODELS, models=MODELS)
        settings = FlowSettings(requests_max=60, band=BandSettings(share="tokens", order="fcfs"), wait_s_max=500.0)
        self.gate: Gate = make.gate(self.pool, self.now, make.Slots(SLOTS), settings)
        self.ends: Counter[str] = Counter()
        self.most = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def client(self, number: int) -> None:
        rng = self.rng
        await asyncio.sleep(rng.uniform(0, 100))
        patience = rng.choice([None, 0.0, rng.expovariate(0.2), rng.expovariate(2.0)])
        service = rng.expovariate(0.1)
        models = rng.choice([("m",), ("n",), ("m", "n")])
        try:
            async with asyncio.timeout(patience):
                await self.served(number, models, service)
            self.ends["served"] += 1
        except Refused as refused:
            self.ends[refused.reason.code] += 1
        except TimeoutError:
            self.ends["gave up"] += 1
        await self.nobody_waits_beside_room()

    async def served(self, number: int, models: tuple[str, ...], service: float) -> None:
        rng = self.rng
        ticket = make.ticket(
            str(number), *models, priority=rng.choice([-1, 0, 1]), tenant=rng.choice("xyz"), arrived=self.now()
        )
        entry = await self.gate.enter(ticket)
        eligible = self.gate.control._eligible(ticket.key)
        assert eligible
        room = [e for e in (eligible if entry.room is None else entry.room) if e in eligible]
        with self.pool.lease(min(room, key=lambda e: e.inflight_requests), 10):
            self.most = max(self.most, *(e.inflight_requests for e in self.pool.endpoints))
            await asyncio.sleep(service)

    async def nobody_waits_beside_room(self) -> None:
        """Once the gate had its look: a wake-up that was lost would show here."""
        for _ in range(4):
            await asyncio.sleep(0)
        control = self.gate.control
        for ticket in control.queues:
            assert control.rule.room(ticket, control._eligible(ticket.key) or (), self.now()) == []

    async def run(self) -> None:
        await asyncio.gather(*(self.client(number) for number in range(CLIENTS)))


@pytest.mark.parametrize("seed", range(8))
def test_everybody_ends_somehow_and_nothing_is_left(seed: int) -> None:
    async def main() -> None:
        town = Town(seed)
        await town.run()

        assert sum(town.ends.values()) == CLIENTS
        assert town.ends["served"] > 0
        assert town.ends["gave up"] > 0
        assert town.ends[Reason.QUEUE_TIMEOUT.code] == 0  # waits are long enough for everybody's turn to come
        assert town.most == SLOTS
        assert len(town.gate) == len(town.gate.control.queues) == 0
        assert town.gate._timer is None
        assert all(e.inflight_requests == e.inflight_tokens == 0 for e in town.pool.endpoints)

    virtual.run(main())


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("moment", ["first", "freed"])
def test_a_cancel_at_any_turn_of_the_loop_leaves_nothing(turns: int, moment: str) -> None:
    """Before it runs, while it asks for more time, while it waits, when it was let go, when it is through."""

    async def main() -> None:
        over = pool("a", models={"a": ["m"]})
        gate = make.gate(over, lambda: asyncio.get_running_loop().time())
        held = over.lease(over.endpoints[0], 10)

        async def asks() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        async def goes() -> None:
            await gate.enter(make.ticket("first"), asks)
            with over.lease(over.endpoints[0], 10):
                await asyncio.sleep(50)

        async def follows() -> None:
            await gate.enter(make.ticket("second", arrived=1.0))

        first, second = asyncio.create_task(goes()), asyncio.create_task(follows())
        if moment == "freed":
            for _ in range(6):
                await asyncio.sleep(0)
            held.close()
        for _ in range(turns):
            await asyncio.sleep(0)
        first.cancel()
        held.close()
        await second

        assert first.cancelled()
        assert len(gate) == len(gate.control.queues) == 0
        assert over.endpoints[0].inflight_requests == over.endpoints[0].inflight_tokens == 0

    virtual.run(main())
