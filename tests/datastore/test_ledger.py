"""The ledger as a state machine: whatever leases do, each endpoint counts the sums over what is held there.

The model keeps a list of what is held and, by endpoint, the line of prompts that are not computed yet; times are
multiples of a quarter of a second, so that sums are exact.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from epp.datastore.pool import Lease, Pool
from epp.domain import Cost, Endpoint
from tests.make import pool

QUARTERS = st.integers(0, 12).map(lambda n: n / 4)
PLACES = st.integers(0, 2)
COSTS = st.builds(
    Cost,
    tokens=st.integers(0, 100),
    context=st.integers(0, 200),
    work_s=QUARTERS,
    blind=st.booleans(),
    critical=st.booleans(),
    adapter=st.sampled_from([None, "french", "german"]),
    prefixes=st.sampled_from([(), (1,), (1, 2), (1, 3)]),
)


@dataclass(eq=False)
class Part:
    """What one request is counted for at one endpoint."""

    at: Endpoint
    cost: Cost
    work_s: float = 0.0
    tokens: int = 0
    due: float | None = None


@dataclass(eq=False)
class Held:
    """A request, the holds on it, and those that work for it."""

    main: Part
    holds: list[Lease]
    beside: list[Part] = field(default_factory=list)


class Ledger(RuleBasedStateMachine):
    """Drives one pool's leases, and a model of them."""

    requests: Bundle[Held] = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.pool: Pool = pool("a", "b", "c")
        self.pool.on_room = self._room
        self.rooms = 0
        self.now = 0.0
        self.held: list[Held] = []
        self.lines: dict[Endpoint, list[Part]] = {e: [] for e in self.pool.endpoints}
        self.since: dict[Endpoint, float] = {}
        self.due: list[tuple[float, Held]] = []

    def _room(self) -> None:
        self.rooms += 1

    # The model.

    def joins(self, part: Part, at: Endpoint) -> None:
        part.at = at
        if part.work_s:
            if not self.lines[at]:
                self.since[at] = self.now
            self.lines[at].append(part)

    def leaves(self, part: Part) -> None:
        line = self.lines[part.at]
        if part in line:
            if line[0] is part:
                self.since[part.at] = self.now
            line.remove(part)

    def computed(self, part: Part) -> None:
        """It has its first token, so those before it that nobody tells us of have theirs."""
        line = self.lines[part.at]
        while part in line and line[0] is not part and line[0].cost.blind:
            self.computed(line[0])
        self.leaves(part)
        part.tokens, part.work_s = 0, 0.0

    def done_beside(self, held: Held) -> None:
        for part in held.beside:
            self.leaves(part)
        held.beside = []

    def outstanding_s(self, at: Endpoint) -> float:
        line = self.lines[at]
        if not line:
            return 0.0
        return sum(part.work_s for part in line) - min(self.now - self.since[at], line[0].work_s)

    # What happens.

    @rule(target=requests, place=PLACES, cost=COSTS, other=PLACES, helper=st.none() | COSTS)
    def lease(self, place: int, cost: Cost, other: int, helper: Cost | None) -> Held:
        at, beside = self.pool.endpoints[place], []
        main = Part(at, cost, cost.work_s, cost.tokens)
        self.joins(main, at)
        if helper is not None:
            there = self.pool.endpoints[other]
            beside = [Part(there, helper, helper.work_s, helper.tokens)]
            self.joins(beside[0], there)
        lease = self.pool.lease(at, cost, now=self.now, beside=[(part.at, part.cost) for part in beside])
        held = Held(main, [lease], beside)
        self.held.append(held)
        if cost.blind and cost.work_s:
            self.due.append((self.now + self.outstanding_s(at), held))
        assert lease.blind is bool(cost.blind and cost.work_s)
        return held

    @rule(held=requests)
    def join(self, held: Held) -> None:
        if held.holds:
            held.holds.append(held.holds[0].join())

    @rule(held=requests)
    def first_token(self, held: Held) -> None:
        rooms = self.rooms
        if held.holds:
            held.holds[-1].prefilled(self.now)
            self.computed(held.main)
            self.done_beside(held)
        assert self.rooms == rooms + bool(held.holds)

    @rule(held=requests, place=PLACES)
    def move(self, held: Held, place: int) -> None:
        rooms, at = self.rooms, self.pool.endpoints[place]
        if held.holds:
            held.holds[0].move(at, self.now)
            self.leaves(held.main)
            self.joins(held.main, at)
            assert held.holds[0].endpoint is at
        assert self.rooms == rooms + bool(held.holds)

    @rule(held=requests)
    def close(self, held: Held) -> None:
        rooms = self.rooms
        if not held.holds:
            return
        last, lease = len(held.holds) == 1, held.holds.pop()
        lease.close(self.now)
        assert lease.charged is not last
        lease.close(self.now)
        lease.prefilled(self.now)
        lease.move(self.pool.endpoints[0], self.now)
        if last:
            self.leaves(held.main)
            self.done_beside(held)
            self.held.remove(held)
        assert self.rooms == rooms + last

    @rule(held=consumes(requests))
    def forget(self, held: Held) -> None:
        """Nothing more happens to it."""

    @rule(seconds=QUARTERS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.pool.settle(self.now)
        for each in sorted(self.due, key=lambda one: one[0]):
            if each[0] <= self.now:
                self.due.remove(each)
                if each[1].holds:
                    self.computed(each[1].main)

    # What must hold.

    @invariant()
    def each_endpoint_counts_what_is_held_there(self) -> None:
        for endpoint in self.pool.endpoints:
            parts = [p for held in self.held for p in (held.main, *held.beside) if p.at is endpoint]
            adapters = Counter(p.cost.adapter for p in parts if p.cost.adapter is not None)
            assert endpoint.inflight_requests == len(parts)
            assert endpoint.inflight_prefixes == Counter(each for p in parts for each in p.cost.prefixes)
            assert endpoint.inflight_critical == sum(p.cost.critical for p in parts)
            assert endpoint.inflight_adapters == adapters
            assert endpoint.inflight_tokens == sum(p.tokens for p in parts)
            assert endpoint.context_tokens == sum(p.cost.context for p in parts)

    @invariant()
    def what_is_to_be_done_is_what_its_line_says(self) -> None:
        for endpoint in self.pool.endpoints:
            line = self.lines[endpoint]
            assert endpoint.work_s == sum(part.work_s for part in line)
            assert endpoint.work_head_s == (line[0].work_s if line else 0.0)
            assert endpoint.outstanding_s(self.now) == self.outstanding_s(endpoint)

    @invariant()
    def it_is_known_when_the_next_should_be_over(self) -> None:
        assert self.pool.settles_at() == min((due for due, _ in self.due), default=None)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=30)


def test_all_that_was_held_and_let_go_leaves_zeros() -> None:
    over = pool("a")
    (endpoint,) = over.endpoints
    leases = [over.lease(endpoint, Cost(work_s=seconds), now=0.0) for seconds in (0.1, 0.2, 0.3)]
    for lease in (leases[1], leases[0], leases[2]):
        lease.close(0.0)

    assert (endpoint.work_s, endpoint.work_head_s) == (0.0, 0.0)  # which 0.1 + 0.2 + 0.3 less each of them is not


def test_a_lease_nobody_holds_any_more_cannot_be_joined() -> None:
    over = pool("a")
    lease = over.lease(over.endpoints[0], 1)
    lease.close()

    with pytest.raises(AssertionError):
        lease.join()


def test_the_endpoint_of_an_address_is_found() -> None:
    over = pool("a", "b")

    assert over.at("10.0.0.1:8000") is over.endpoints[1]
    assert over.at("10.0.0.7:8000") is None
