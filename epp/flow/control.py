"""The gate's decisions without its clock: who goes on, who waits, who is let go next, who has waited in vain.

Must stay true: a request that goes on from the queue is counted in the ledger from that moment (its booking) until it
takes its own lease or leaves; nobody overtakes one of the same or a higher priority that waits for the same endpoints,
except by the band's own order; one saturated model keeps nobody from another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from epp.domain import Endpoint, Reason, Refused, Usage
from epp.flow.eviction import Evictions, Running
from epp.flow.heap import Heap
from epp.flow.queues import Band, Line, Queues
from epp.flow.rules import Rule, retry_after_s
from epp.flow.settings import FlowSettings
from epp.flow.share import OUTPUT_WEIGHT
from epp.flow.ticket import Key, Ledger, Room, State, Ticket

Eligible = Callable[[Key], Sequence[Endpoint] | None]
ANYTHING = Key(frozenset({None}))
FULL = "too many requests wait already"
# What a prompt takes where the rule does not say: llm-d's peak for a 32B model on two H100s, a middling engine.
PREFILL_TOKENS_PER_S = 15_928.0
OVERHEAD_S = 0.02  # of a request with an empty prompt


class Control:
    """Judges tickets as they arrive, and again when `release` is called: whenever something may have changed.

    `eligible` gives the endpoints that could serve a key; none of them: nobody serves it; None: nobody is there at all.
    """

    def __init__(
        self,
        *,
        settings: FlowSettings,
        rule: Rule,
        ledger: Ledger,
        eligible: Eligible,
    ) -> None:
        self.settings = settings
        self.rule = rule
        self.queues = Queues(settings)
        self.evictions = Evictions(settings)
        self.closing = False
        self.dropped: list[tuple[Ticket, Refused]] = []  # displaced by others; `expire` gives them back
        self._ledger = ledger
        self._eligible = eligible

    def arrive(self, ticket: Ticket, now: float) -> Room:
        """The endpoints it may go to now, where it need not wait; else it waits (`ticket.waits`).

        Raises Refused.
        """
        request = ticket.request
        ticket.bytes = len(request.body)
        ticket.own_s = OVERHEAD_S + request.prompt_tokens / PREFILL_TOKENS_PER_S
        ticket.due_s = self.settings.due_s(ticket.slo_s, ticket.own_s)
        endpoints = self._eligible(ticket.key)
        try:
            if endpoints is None and self.settings.hold_s:
                return self._hold(ticket, now)
            if not endpoints:
                return self._through(ticket, now)  # who picks will say what is wrong
            return self._judge(ticket, endpoints, now)
        except Refused:
            ticket.state = State.REFUSED
            raise

    def _judge(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        self.rule.screen(ticket, endpoints, now)
        room: Room = ()
        contested = self._contested(ticket)
        if not contested:
            room = self.rule.room(ticket, endpoints, now)
        if room is None or room:
            self._through(ticket, now)
            return room
        before_s = self.queues.before_s(ticket)
        ticket.seen = self.rule.view(ticket, endpoints, before_s, now, contested=contested)
        try:
            until = self.rule.until(ticket, endpoints, before_s, now)
        except Refused:
            if not contested or not _some(self.rule.room(ticket, endpoints, now)):
                raise
            until = ticket.deadline - ticket.own_s  # others are before it, but not for all that it accepts
        self._wait(ticket, until, retry_after_s(self.queues.ahead_s(ticket) / len(endpoints)), now)
        return ()

    def release(self, now: float) -> list[Ticket]:
        """Those that go on now, best first, each booked already."""
        self._ledger.settle(now)
        released: list[Ticket] = []
        seen: dict[Key, Sequence[Endpoint]] = {}
        shut: set[Key] = set()  # for these nobody is there, or a higher priority found no room, so no lower one will
        for key in self.queues.waited_for():
            endpoints = self._eligible(key)
            if endpoints is None:
                shut.add(key)
            else:
                seen[key] = endpoints
        for band in self.queues.bands:
            for key, line in band.lines.items():
                self._regime(line, seen.get(key), now)
            if band.requests:
                self._release_band(band, seen, shut, released, now)
        return released

    def evict(self, now: float) -> list[Running]:
        """Those in flight that are to be cut off for the first who waits, where that is allowed."""
        if not len(self.evictions):
            return []
        for band in self.queues.bands:
            for key in band.lines:
                found = self.evictions.choose(band.priority, self._eligible(key) or (), now)
                if found:
                    return found
        return []

    def redeem(self, ticket: Ticket, now: float) -> Room:
        """The endpoints that a released request may go to, read anew. Its booking is given back: take a lease at once.

        Where it was booked it may go, whatever has come since.
        """
        assert ticket.state is State.BOOKED
        ticket.state = State.THROUGH
        booking, ticket.booking = ticket.booking, None
        if booking is not None:
            booking.close(now)
        endpoints = self._eligible(ticket.key)
        if booking is None or not endpoints:
            return None
        room = self.rule.room(ticket, endpoints, now)
        if room is None or not (booking.endpoint in endpoints and booking.endpoint not in room):
            return room or None
        return [booking.endpoint, *room]

    def leave(self, ticket: Ticket, now: float) -> None:
        """The request gave up, wherever it was."""
        if ticket.state is State.WAITING:
            self.queues.remove(ticket, now)
        elif ticket.state is State.BOOKED and ticket.booking is not None:
            booking, ticket.booking = ticket.booking, None
            booking.close(now)
        if ticket.state in (State.WAITING, State.BOOKED):
            ticket.state = State.GONE

    def expire(self, now: float) -> list[tuple[Ticket, Refused]]:
        """Those whose time is over, and those that others have displaced."""
        over, self.dropped = self.dropped, []
        for ticket in self.queues.expired(now):
            self._drop(ticket, State.REFUSED, now)
            over.append((ticket, self._late(ticket)))
        return over

    def close(self, now: float) -> list[tuple[Ticket, Refused]]:
        """Nobody waits any more: those that do are refused, and so will be who would have to."""
        self.closing = True
        waiting = list(self.queues)
        for ticket in waiting:
            self._drop(ticket, State.REFUSED, now)
        return [(ticket, _shutting_down()) for ticket in waiting]

    def wakes_at(self) -> float | None:
        """When to look again though nothing has happened; None while nobody waits."""
        deadline = self.queues.next_deadline()
        settles = self._ledger.settles_at()
        return deadline if deadline is None or settles is None else min(deadline, settles)

    def fullness(self, now: float) -> float:
        """How full all endpoints are together, by the rule's own measure."""
        return self.rule.fullness(self._eligible(ANYTHING) or (), now)

    def stale(self, now: float) -> int:
        """How many of them are judged by the ledger alone."""
        return self.rule.stale(self._eligible(ANYTHING) or (), now)

    def generated(self, tenant: str, priority: int, usage: Usage, now: float) -> None:
        """A request of the tenant is over: what it generated counts too, less what of its prompt was cached."""
        share = self.queues.band(priority).share
        tokens = max(0.0, OUTPUT_WEIGHT * usage.completion - usage.cached)
        share.served(share.tenant(tenant), tokens, now)

    def _through(self, ticket: Ticket, now: float) -> Room:
        ticket.state = State.THROUGH
        self._charge(ticket, now)
        return None

    def _charge(self, ticket: Ticket, now: float) -> None:
        request = ticket.request
        share = self.queues.band(request.priority).share
        share.served(share.tenant(request.tenant), request.prompt_tokens, now)

    def _contested(self, ticket: Ticket) -> bool:
        """Whether one of its priority or a higher one waits for an endpoint that it accepts."""
        if not self.queues.requests:
            return False
        priority, key = ticket.request.priority, ticket.key
        return any(
            waited.meets(key)
            for band in self.queues.bands
            if band.priority >= priority and band.requests
            for waited in band.lines
        )

    def _hold(self, ticket: Ticket, now: float) -> Room:
        """Nobody is there: wait for somebody to come."""
        ticket.held = True
        self._wait(ticket, now + self.settings.hold_s, 1, now)
        return ()

    def _wait(self, ticket: Ticket, until: float, retry_s: int, now: float) -> None:
        """Let it wait until then, or as long as its gateway bears. Raises Refused where there is no room or time."""
        most_s = self.settings.wait_s_max
        if ticket.wait_s_max is not None:
            most_s = min(most_s, ticket.wait_s_max)
        ticket.latest = now + (most_s if ticket.wait_s_max is not None else most_s + self.settings.hold_s)
        ticket.expires = min(until, ticket.latest if ticket.held else now + most_s)
        refused = None
        if self.closing:
            refused = _shutting_down()
        elif ticket.expires <= now:
            refused = Refused(Reason.WAIT_TOO_LONG, "the gateway does not wait for long enough", retry_after_s=retry_s)
        elif not self._make_room(ticket, now):
            refused = Refused(Reason.QUEUE_FULL, FULL, retry_after_s=retry_s)
        if refused is not None:
            raise refused
        self.queues.add(ticket, now)

    def _make_room(self, ticket: Ticket, now: float) -> bool:
        """Whether it may wait, in the place of another if need be."""
        if self.queues.has_room(ticket):
            return True
        other = self.queues.displaced_by(ticket)
        if other is None or not self.queues.has_room(ticket, other):
            return False
        self._drop(other, State.REFUSED, now)
        self.dropped.append((other, Refused(Reason.DISPLACED, "another request was given the place in the queue")))
        return True

    def _drop(self, ticket: Ticket, state: State, now: float) -> None:
        self.queues.remove(ticket, now)
        ticket.state = state

    def _late(self, ticket: Ticket) -> Refused:
        if ticket.held:
            return Refused(Reason.NO_ENDPOINTS, "request timed out in queue and no endpoints are available")
        endpoints = self._eligible(ticket.key) or ()
        wait_s = self.queues.ahead_s(ticket) / max(1, len(endpoints))
        return Refused(Reason.QUEUE_TIMEOUT, "request timed out in queue", retry_after_s=retry_after_s(wait_s))

    def _release_band(
        self,
        band: Band,
        seen: dict[Key, Sequence[Endpoint]],
        shut: set[Key],
        released: list[Ticket],
        now: float,
    ) -> None:
        ready: Heap[Line] = Heap()
        for key, line in band.lines.items():
            if key not in shut:
                ready.push(line, line.next()[0])
        left = {key: self.rule.at_once(endpoints) for key, endpoints in seen.items()}
        while ready:
            line = ready.first()
            place, ticket = line.next()
            if ready.first_rank() < place:
                ready.push(line, place)  # its tenant was served since
                continue
            endpoints = seen[line.key]
            room = self.rule.room(ticket, endpoints, now) if endpoints else None
            if not _some(room) or left[line.key] == 0:
                if endpoints and self.rule.hopeless(ticket, endpoints, now):
                    self._drop(ticket, State.REFUSED, now)
                    self.dropped.append((ticket, self._late(ticket)))
                    _again(ready, line)
                else:
                    shut.add(line.key)
                    ready.remove(line)
                continue
            left[line.key] -= 1
            self._let_go(ticket, room or endpoints, now)
            released.append(ticket)
            _again(ready, line)

    def _regime(self, line: Line, endpoints: Sequence[Endpoint] | None, now: float) -> None:
        """Time to wait counts anew when the last endpoint goes, and when the first comes."""
        empty = endpoints is None
        if line.held == (line.count if empty else 0):
            return
        for ticket in list(line):
            if ticket.held is empty:
                continue
            ticket.held = empty
            line.held += 1 if empty else -1
            ticket.arrived = now
            if endpoints:
                self.rule.screen(ticket, endpoints, now)
            most_s = self.settings.hold_s if empty else self.settings.wait_s_max
            self.queues.until(ticket, min(now + most_s, ticket.latest))

    def _let_go(self, ticket: Ticket, room: Sequence[Endpoint], now: float) -> None:
        """Count it at once, where it will probably go; it takes its own lease when it next runs."""
        self.queues.remove(ticket, now)
        ticket.state = State.BOOKED
        self._charge(ticket, now)
        if room:
            there, cost = self.rule.goes(ticket, room, now)
            cost.critical = self.settings.level(ticket.request.priority) == "critical"
            ticket.booking = self._ledger.lease(there, cost, now=now)


def _again(ready: Heap[Line], line: Line) -> None:
    """A line's next has gone: it has another, or none."""
    if line:
        ready.push(line, line.next()[0])
    else:
        ready.remove(line)


def _some(room: Room) -> bool:
    """Whether there is any."""
    return room is None or len(room) > 0


def _shutting_down() -> Refused:
    return Refused(Reason.SHUTTING_DOWN, "this picker is shutting down; try again")
