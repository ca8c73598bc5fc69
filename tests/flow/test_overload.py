"""Two and three times what four engines can do, in virtual time: who gets through, who is refused, and how soon.

The engines compute prompts one after the other, for as long as the reckoner foretells; so what is tested is the gate.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest

from epp.domain import Cost, Endpoint, Refused
from epp.flow.build import own_gate
from epp.flow.gate import Gate
from epp.flow.settings import FlowSettings
from epp.scheduling.reckoner import Reckoner
from tests.flow import make
from tests.kubeapi import virtual
from tests.make import pool

ENGINES = 4
SECONDS = 120.0
MIX = {1: 0.2, 0: 0.5, -1: 0.3}
SETTINGS = FlowSettings()
TOKENS = (4000, 8000, 16_000, 24_000, 32_000)  # 0.1 to 1.3 s of prefill
SECONDS_OF = {tokens: Reckoner().wants(make.ticket(tokens=tokens).request, ()).own_s for tokens in TOKENS}
MEAN_S = sum(SECONDS_OF.values()) / len(TOKENS)  # 0.61


@dataclass
class Outcome:
    priority: int
    tenant: str
    tokens: int
    came: float
    first_s: float | None = None
    refused_s: float | None = None

    @property
    def good(self) -> bool:
        """Its first token came within its SLO."""
        return self.first_s is not None and self.first_s <= 2.0 + 2 * SECONDS_OF[self.tokens]


class Fleet:
    """Engines behind a gate."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.pool = pool(*(f"e{n}" for n in range(ENGINES)))
        place = make.place(self.pool, self.now)
        self.gate: Gate = own_gate(place, SETTINGS, Reckoner())
        self.pool.on_room = self.gate.wake
        self.engines = {endpoint: asyncio.Lock() for endpoint in self.pool.endpoints}
        self.outcomes: list[Outcome] = []

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def offered(self, load: float, seconds: float, share: dict[str, float]) -> None:
        """Poisson arrivals at so many times the capacity."""
        rate = load * ENGINES / MEAN_S
        ends = self.now() + seconds
        async with asyncio.TaskGroup() as tasks:
            while self.now() < ends:
                await asyncio.sleep(self.rng.expovariate(rate))
                priority = self.rng.choices(list(MIX), list(MIX.values()))[0]
                tenant = self.rng.choices(list(share), list(share.values()))[0]
                outcome = Outcome(priority, tenant, self.rng.choice(TOKENS), self.now())
                self.outcomes.append(outcome)
                tasks.create_task(self.one(outcome))

    async def one(self, outcome: Outcome) -> None:
        ticket = make.ticket(
            "r", "m", priority=outcome.priority, tenant=outcome.tenant, tokens=outcome.tokens, arrived=self.now()
        )
        try:
            entry = await self.gate.enter(ticket)
        except Refused:
            outcome.refused_s = self.now() - outcome.came
            return
        room = self.pool.endpoints if entry.room is None else entry.room
        endpoint = min(room, key=lambda e: e.outstanding_s(self.now()))
        seconds = SECONDS_OF[outcome.tokens]
        cost = Cost(outcome.tokens, outcome.tokens, seconds, critical=outcome.priority >= SETTINGS.critical_from)
        with self.pool.lease(endpoint, cost, now=self.now()) as lease:
            await self.computed(endpoint, seconds)
            outcome.first_s = self.now() - outcome.came
            lease.prefilled(self.now())

    async def computed(self, endpoint: Endpoint, seconds: float) -> None:
        async with self.engines[endpoint]:
            await asyncio.sleep(seconds)

    def goodput(self, priority: int) -> float:
        mine = [o for o in self.outcomes if o.priority == priority]
        return sum(o.good for o in mine) / len(mine)


def served(load: float, seed: int, **share: float) -> Fleet:
    fleets: list[Fleet] = []

    async def main() -> None:
        fleets.append(Fleet(seed))
        await fleets[0].offered(load, SECONDS, share or {"t": 1.0})

    virtual.run(main())
    return fleets[0]


def refusals(fleet: Fleet) -> list[float]:
    """How long each refusal took, in seconds, the soonest first."""
    return sorted(o.refused_s for o in fleet.outcomes if o.refused_s is not None)


@pytest.mark.parametrize("load", [1.5, 2.0, 3.0])
def test_what_is_critical_keeps_its_slo_and_what_may_be_shed_goes_first(load: float) -> None:
    fleet = served(load, seed=11)
    goodput = {priority: fleet.goodput(priority) for priority in MIX}

    assert goodput[1] > 0.98
    assert goodput[1] > goodput[0] > goodput[-1]
    done = sum(SECONDS_OF[o.tokens] for o in fleet.outcomes if o.good)
    assert done > 0.95 * ENGINES * SECONDS  # and the engines do little that nobody needs
    late = [o for o in fleet.outcomes if o.first_s is not None and not o.good]
    assert len(late) < 0.02 * len(fleet.outcomes)


def test_below_capacity_nobody_is_refused_but_some_of_what_may_be_shed() -> None:
    fleet = served(0.6, seed=12)
    refused = Counter(o.priority for o in fleet.outcomes if o.refused_s is not None)

    assert refused[1] == 0
    assert refused[0] < 0.01 * len(fleet.outcomes)
    assert fleet.goodput(-1) > 0.9


def test_most_refusals_come_at_once() -> None:
    refused = refusals(served(3.0, seed=13))

    assert refused[len(refused) // 2] == 0.0


def test_refusals_come_while_the_slo_can_still_be_kept_elsewhere() -> None:
    refused = refusals(served(3.0, seed=13))

    assert refused[-1] < 2.0 + 2 * max(SECONDS_OF.values())


def test_a_greedy_tenant_is_refused_more_and_gets_no_more_than_its_share() -> None:
    fleet = served(2.0, seed=14, greedy=0.75, modest=0.25)
    got = Counter[str]()
    for outcome in fleet.outcomes:
        if outcome.good and outcome.priority == 0:
            got[outcome.tenant] += outcome.tokens
    part = {t: sum(o.good for o in fleet.outcomes if (o.tenant, o.priority) == (t, 0)) for t in got}
    offered = Counter(o.tenant for o in fleet.outcomes if o.priority == 0)

    assert part["modest"] / offered["modest"] > part["greedy"] / offered["greedy"]


def test_after_overload_everything_is_as_before_at_once() -> None:
    async def main() -> None:
        fleet = Fleet(seed=15)
        await fleet.offered(3.0, 30.0, {"t": 1.0})
        assert len(fleet.gate) == 0
        fleet.outcomes.clear()
        await fleet.offered(0.5, 30.0, {"t": 1.0})

        assert all(fleet.goodput(priority) > 0.97 for priority in MIX)

    virtual.run(main())
