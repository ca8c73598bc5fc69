"""Who waits, and who is next: by priority, then by tenant, then by order, in a queue for each set of candidates.

Must stay true: requests and bytes of a band, and of all bands, are the sums over the tickets waiting; nothing waits
beyond a bound; a ticket is in its line and in the heap of deadlines, or in neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count

from epp.flow.heap import Heap
from epp.flow.order import ORDERS
from epp.flow.settings import BandSettings, FlowSettings
from epp.flow.share import SHARES, Share
from epp.flow.ticket import Key, State, Ticket

BANDS_MAX = 64  # kept while nothing waits in them; priorities come from objects of the operator

Place = tuple[float, float, int]  # the tenant's rank, the ticket's, and the order of arrival: the least is next


class Line:
    """What waits in one band for one set of candidates, by tenant; `held` of the `count` wait for any endpoint."""

    def __init__(self, share: Share, key: Key) -> None:
        self.key = key
        self.work_s = 0.0
        self.count = 0
        self.held = 0
        self._share = share
        self._tenants: dict[str, Heap[Ticket]] = {}
        self._turns: Heap[str] = Heap()

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def __iter__(self) -> Iterator[Ticket]:
        for tickets in self._tenants.values():
            yield from tickets

    def add(self, ticket: Ticket) -> None:
        """Put a ticket in."""
        tenant = self._share.tenant(ticket.request.tenant)
        tickets = self._tenants.get(tenant)
        if tickets is None:
            tickets = self._tenants[tenant] = Heap()
            self._turns.push(tenant, self._share.rank(tenant))
        tickets.push(ticket, (ticket.rank, ticket.order))
        self.work_s += ticket.own_s
        self.count += 1
        self.held += ticket.held

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out."""
        self.count -= 1
        self.held -= ticket.held
        tenant = self._share.tenant(ticket.request.tenant)
        tickets = self._tenants[tenant]
        tickets.remove(ticket)
        if not tickets:
            del self._tenants[tenant]
            self._turns.remove(tenant)
        self.work_s = max(0.0, self.work_s - ticket.own_s) if self._tenants else 0.0  # exactly: sums of floats drift

    def next(self) -> tuple[Place, Ticket]:
        """The next ticket, and its place among those of other lines. There must be one."""
        turns = self._turns
        while turns.first_rank() < (rank := self._share.rank(turns.first())):
            turns.push(turns.first(), rank)  # it was served since; others may come before it now
        ticket = self._tenants[turns.first()].first()
        return (rank, ticket.rank, ticket.order), ticket

    def before_s(self, tenant: str, rank: float) -> float:
        """Predicted seconds of prefill of the tenant's tickets that come before a new one of that rank."""
        tickets = self._tenants.get(tenant)
        return 0.0 if tickets is None else sum(t.own_s for t in tickets.below((rank, math.inf)))

    def worst_of(self, tenant: str) -> Ticket:
        """A ticket of the tenant that would have to wait for long."""
        return self._tenants[tenant].last()

    def has(self, tenant: str) -> bool:
        """Whether the tenant has something here."""
        return tenant in self._tenants


class Band:
    """What waits with one priority."""

    def __init__(self, priority: int, settings: BandSettings) -> None:
        self.priority = priority
        self.settings = settings
        self.requests = 0
        self.bytes = 0
        self.lines: dict[Key, Line] = {}
        self.share = SHARES[settings.share]()
        self.rank: Callable[[Ticket], float] = ORDERS[settings.order]
        self._waiting: dict[str, int] = {}

    def has_room(self, requests: int, size: int) -> bool:
        """Whether so many more requests, of so many bytes together, may wait here."""
        return _fits(self.settings.requests_max, self.requests + requests) and _fits(
            self.settings.bytes_max, self.bytes + size
        )

    def add(self, ticket: Ticket, now: float) -> None:
        """Let a ticket wait."""
        tenant = self.share.tenant(ticket.request.tenant)
        self._waiting[tenant] = self._waiting.get(tenant, 0) + 1
        if self._waiting[tenant] == 1:
            self.share.waits(tenant, now)
        line = self.lines.get(ticket.key)
        if line is None:
            line = self.lines[ticket.key] = Line(self.share, ticket.key)
        ticket.rank = self.rank(ticket)
        line.add(ticket)
        self.requests += 1
        self.bytes += ticket.bytes

    def remove(self, ticket: Ticket, now: float) -> None:
        """Let it wait no more."""
        line = self.lines[ticket.key]
        line.remove(ticket)
        if not line:
            del self.lines[ticket.key]
        self.requests -= 1
        self.bytes -= ticket.bytes
        tenant = self.share.tenant(ticket.request.tenant)
        self._waiting[tenant] -= 1
        if not self._waiting[tenant]:
            del self._waiting[tenant]
            self.share.left(tenant, now)

    def greediest(self, below: str | None) -> Ticket | None:
        """A ticket of the tenant that had most of all that wait, if it had more than `below` (None: anyone).

        Looks at every tenant that waits; only asked where the band is full.
        """
        rank = self.share.rank
        most = max(self._waiting, key=rank, default=None)
        if most is None or (below is not None and not rank(most) > rank(self.share.tenant(below))):
            return None
        return next(line.worst_of(most) for line in self.lines.values() if line.has(most))

    def tenants(self) -> dict[str, int]:
        """How many requests each tenant has waiting."""
        return dict(self._waiting)


class Queues:
    """All bands, highest priority first."""

    def __init__(self, settings: FlowSettings) -> None:
        self.settings = settings
        self.requests = 0
        self.bytes = 0
        self._bands: dict[int, Band] = {}
        self._sorted: list[Band] = []
        self._deadlines: Heap[Ticket] = Heap()
        self._order = count(1)

    def __len__(self) -> int:
        return self.requests

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._deadlines)

    @property
    def bands(self) -> list[Band]:
        """Highest priority first."""
        return self._sorted

    def band(self, priority: int) -> Band:
        """The band of a priority, made when it is first spoken of."""
        band = self._bands.get(priority)
        if band is None:
            self._forget()
            band = self._bands[priority] = Band(priority, self.settings.of(priority))
            self._sorted = sorted(self._bands.values(), key=lambda b: -b.priority)
        return band

    def has_room(self, ticket: Ticket, gone: Ticket | None = None) -> bool:
        """Whether it may wait, by the bounds of its band and of all, once `gone` does no more."""
        requests, size = (1, ticket.bytes) if gone is None else (0, ticket.bytes - gone.bytes)
        if not _fits(self.settings.requests_max, self.requests + requests):
            return False
        if not _fits(self.settings.bytes_max, self.bytes + size):
            return False
        priority = ticket.request.priority
        same = gone is not None and gone.request.priority == priority
        return self.band(priority).has_room(requests, size) if same else self.band(priority).has_room(1, ticket.bytes)

    def displaced_by(self, ticket: Ticket) -> Ticket | None:
        """Whom a ticket that finds no room may take the place of: the lowest priority below its own, where all bands
        together are full; else, in its own band, a tenant that had more than its own."""
        band = self.band(ticket.request.priority)
        if band.has_room(1, ticket.bytes):
            lowest = next((b for b in reversed(self._sorted) if b.requests), None)
            if lowest is not None and lowest.priority < band.priority:
                return lowest.greediest(None)
        return band.greediest(ticket.request.tenant)

    def add(self, ticket: Ticket, now: float) -> None:
        """Let a ticket wait until `ticket.expires`. There must be room for it."""
        assert self.has_room(ticket)
        ticket.order = ticket.order or next(self._order)
        ticket.state, ticket.since = State.WAITING, now
        self.band(ticket.request.priority).add(ticket, now)
        self._deadlines.push(ticket, ticket.expires)
        self.requests += 1
        self.bytes += ticket.bytes

    def remove(self, ticket: Ticket, now: float) -> None:
        """Let a ticket wait no more; the caller says what becomes of it."""
        self._deadlines.remove(ticket)
        self.band(ticket.request.priority).remove(ticket, now)
        self.requests -= 1
        self.bytes -= ticket.bytes

    def until(self, ticket: Ticket, expires: float) -> None:
        """Let a ticket that waits do so until another time."""
        ticket.expires = expires
        self._deadlines.push(ticket, expires)

    def next_deadline(self) -> float | None:
        """When the next ticket's time is over."""
        return self._deadlines.first_rank() if self._deadlines else None

    def expired(self, now: float) -> Iterator[Ticket]:
        """The tickets whose time is over; each must be removed before the next is asked for."""
        while self._deadlines and self._deadlines.first_rank() <= now:
            yield self._deadlines.first()

    def ahead_s(self, ticket: Ticket) -> float:
        """Predicted seconds of prefill that wait for the same endpoints, with its priority or a higher one."""
        return sum(
            line.work_s
            for band in self._sorted
            if band.priority >= ticket.request.priority
            for key, line in band.lines.items()
            if key.meets(ticket.key)
        )

    def before_s(self, ticket: Ticket) -> float:
        """Of a ticket that does not wait yet: predicted seconds of prefill that are sure to go before it, and nowhere
        else than where it may go: all of a higher priority, and of its own what its tenant has in front of it."""
        band = self.band(ticket.request.priority)
        tenant, rank = band.share.tenant(ticket.request.tenant), band.rank(ticket)
        total = 0.0
        for other in self._sorted:
            if other.priority < band.priority:
                break
            for key, line in other.lines.items():
                if key.within(ticket.key):
                    total += line.before_s(tenant, rank) if other is band else line.work_s
        return total

    def waited_for(self) -> set[Key]:
        """The sets of candidates that something waits for."""
        return {key for band in self._sorted for key in band.lines}

    def _forget(self) -> None:
        if len(self._bands) < BANDS_MAX:
            return
        idle = next((b.priority for b in self._sorted if not b.requests), None)
        if idle is not None:
            del self._bands[idle]


def _fits(most: int, count: int) -> bool:
    """Whether a count is within a bound, of which 0 is none."""
    return not most or count <= most
