"""The gate's decisions without a clock: a state machine that arrives, lets go, gives up and changes the pool at random.

After every step the books must balance: who waits, who is booked, what the ledger holds; nobody waits beyond a bound,
nor beside an endpoint with room once the queues were looked through.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from epp.datastore.pool import Lease, Listed, Pool
from epp.domain import Refused
from epp.flow.settings import BandSettings, FlowSettings
from epp.flow.ticket import State, Ticket
from tests.flow import make

MODELS = {"a": ("m",), "b": ("m", "n"), "c": ("n",), "d": ("o",)}
SLOTS = 2
BOUNDS = FlowSettings(
    requests_max=8,
    bytes_max=100,
    band=BandSettings(requests_max=5, bytes_max=60, order="fcfs"),
    bands={1: BandSettings(requests_max=3, bytes_max=60, order="fcfs", share="round-robin")},
    negative_band=BandSettings(requests_max=4, bytes_max=60, order="fcfs", share="global-strict"),
    wait_s_max=30.0,
    hold_s=20.0,
)


class Machine(RuleBasedStateMachine):
    """Drives one `Control` over one pool."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool()
        self.relist(set(MODELS))
        self.control = make.control(self.pool, make.Slots(SLOTS), BOUNDS)
        self.now = 0.0
        self.tickets: list[Ticket] = []
        self.leases: list[Lease] = []
        self.refused = 0

    def relist(self, names: set[str]) -> None:
        self.pool.relist(Listed(name, f"10.0.0.{ord(name)}:8000") for name in sorted(names))
        for endpoint in self.pool.endpoints:
            endpoint.models = {model: model for model in MODELS[endpoint.name]}

    def of(self, state: State) -> list[Ticket]:
        return [ticket for ticket in self.tickets if ticket.state is state]

    def take(self, ticket: Ticket, room: object) -> None:
        """What the director does with a request that is through."""
        eligible = self.control._eligible(ticket.key)
        if not eligible:
            return  # refused for want of anybody to serve it
        free = room if isinstance(room, list) and room else eligible
        self.leases.append(self.pool.lease(min(free, key=lambda e: e.inflight_requests), 10))

    @rule(
        models=st.sets(st.sampled_from("mno"), min_size=1),
        priority=st.integers(-1, 1),
        tenant=st.sampled_from("xyz"),
        size=st.integers(1, 40),
        waits=st.sampled_from([None, 0.0, 3.0]),
    )
    def arrive(self, models: set[str], priority: int, tenant: str, size: int, waits: float | None) -> None:
        ticket = make.ticket(
            "r", *models, priority=priority, tenant=tenant, size=size, arrived=self.now, wait_s_max=waits
        )
        self.tickets.append(ticket)
        try:
            room = self.control.arrive(ticket, self.now)
        except Refused:
            assert ticket.state is State.REFUSED
            return
        if not ticket.waits:
            assert ticket.state is State.THROUGH
            self.take(ticket, room)

    @rule()
    def look(self) -> None:
        before = self.of(State.WAITING)
        over = {ticket for ticket, _ in self.control.expire(self.now)}
        released = self.control.release(self.now)

        assert all(t.state is State.REFUSED for t in over)
        assert all(t.state is State.BOOKED for t in released)
        self.nobody_waits_beside_room()
        self.nobody_overtakes(before, released)

    def nobody_waits_beside_room(self) -> None:
        for ticket in self.of(State.WAITING):
            eligible = self.control._eligible(ticket.key)
            if eligible is None:
                assert ticket.held
                continue
            assert not ticket.held
            assert self.control.rule.room(ticket, eligible, self.now) == []

    def nobody_overtakes(self, before: list[Ticket], released: list[Ticket]) -> None:
        """Of one tenant, priority and set of candidates, the first to come is the first to go."""
        for left in before:
            if left.state is State.WAITING:
                same = [
                    t
                    for t in released
                    if t.key == left.key
                    and t.request.tenant == left.request.tenant
                    and t.request.priority == left.request.priority
                ]
                assert all(t.order < left.order for t in same)

    @precondition(lambda self: self.of(State.BOOKED))
    @rule(data=st.data())
    def redeem(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.of(State.BOOKED)))
        self.take(ticket, self.control.redeem(ticket, self.now))

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        before = ticket.state
        self.control.leave(ticket, self.now)

        assert ticket.state is (State.GONE if before in (State.WAITING, State.BOOKED) else before)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.leases.remove(lease)
        lease.close(self.now)

    @rule(names=st.sets(st.sampled_from("abcd")))
    def pool_changes(self, names: set[str]) -> None:
        self.relist(names)

    @rule(seconds=st.sampled_from([0.5, 5.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_books_balance(self) -> None:
        waiting, queues = self.of(State.WAITING), self.control.queues
        assert set(queues) == set(waiting)
        assert (queues.requests, queues.bytes) == (len(waiting), sum(t.bytes for t in waiting))
        for band in queues.bands:
            mine = [t for t in waiting if t.request.priority == band.priority]
            assert (band.requests, band.bytes) == (len(mine), sum(t.bytes for t in mine))
            assert band.requests <= band.settings.requests_max
            assert band.bytes <= band.settings.bytes_max
            assert Counter({key: line.count for key, line in band.lines.items()}) == Counter(t.key for t in mine)
            assert all(line.held == sum(t.held for t in line) for line in band.lines.values())
        assert queues.requests <= BOUNDS.requests_max
        assert queues.bytes <= BOUNDS.bytes_max

    @invariant()
    def the_ledger_holds_leases_and_bookings(self) -> None:
        booked = [t.booking for t in self.of(State.BOOKED) if t.booking is not None]
        held = Counter(id(hold.endpoint) for hold in (*self.leases, *booked))
        assert all(e.inflight_requests == held[id(e)] for e in self.pool.endpoints)

    @invariant()
    def only_those_that_wait_or_are_booked_hold_anything(self) -> None:
        assert all(t.booking is None for t in self.tickets if t.state is not State.BOOKED)

    def teardown(self) -> None:
        for ticket in self.tickets:
            self.control.leave(ticket, self.now)
        for lease in self.leases:
            lease.close()
        assert len(self.control.queues) == 0
        assert all(e.inflight_requests == 0 for e in self.pool.endpoints)


TestControl = Machine.TestCase
TestControl.settings = settings(max_examples=60, stateful_step_count=40)
