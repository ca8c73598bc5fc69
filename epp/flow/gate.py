"""Where requests wait. The only part of flow control that knows of tasks; what it does, `control.py` decides.

Must stay true: who is let go on is counted before any other code runs; whoever leaves while waiting, or between being
let go and running again, leaves nothing behind; whatever frees room is followed by one look at the queues, however
much is freed at once; one timer is set while somebody waits, and none otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from epp.domain import Refused
from epp.flow.control import Control
from epp.flow.ticket import Room, Ticket

DISPATCHED = "dispatched"
GONE = "cancelled"
ENQUEUED = "enqueued"

Waits = Callable[[], Awaitable[None]]


class Gone(Exception):
    """Whoever asked is not there any more."""


class Observer(Protocol):
    """Counts what becomes of requests."""

    def judged(self, ticket: Ticket, outcome: str, seconds: float) -> None:
        """A request was judged when it came, which took so long; `outcome` as below, or `enqueued`."""

    def looked(self, seconds: float) -> None:
        """The queues were looked through, which took so long."""

    def passed(self, ticket: Ticket, outcome: str, waited_s: float) -> None:
        """`outcome` is `dispatched`, `cancelled` or the code of a refusal."""

    def evicted(self, priority: int) -> None:
        """A request in flight is told to end."""


class Unobserved:
    """Counts nothing."""

    def judged(self, ticket: Ticket, outcome: str, seconds: float) -> None:
        """Not counted."""

    def looked(self, seconds: float) -> None:
        """Not counted."""

    def passed(self, ticket: Ticket, outcome: str, waited_s: float) -> None:
        """Not counted."""

    def evicted(self, priority: int) -> None:
        """Not counted."""


@dataclass(slots=True)
class Entry:
    """A request is through: to the endpoints of `room` (None: any) it may go, if it takes its lease at once."""

    room: Room
    waited_s: float = 0.0


class Gate:
    """Lets requests through one by one; `wake` is to be called whenever room may have come free."""

    def __init__(self, control: Control, now: Callable[[], float], observer: Observer | None = None) -> None:
        self.control = control
        self._now = now
        self._observer = observer or Unobserved()
        self._waiters: dict[Ticket, asyncio.Future[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._due = False

    def __len__(self) -> int:
        """How many wait, or were let go and have not run yet."""
        return len(self._waiters)

    async def enter(self, ticket: Ticket, waits: Waits | None = None) -> Entry:
        """Through the gate, at once where there is room. Raises Refused.

        `waits` is called before a wait, once. Between the return and the lease the caller must not await.
        """
        now = self._now()
        try:
            room = self.control.arrive(ticket, now)
        except Refused as refused:
            self._judged(ticket, refused.reason.code, now)
            raise
        if not ticket.waits:
            self._judged(ticket, DISPATCHED, now)
            return Entry(room)
        self._observer.judged(ticket, ENQUEUED, self._now() - now)
        outcome = GONE
        self._loop = asyncio.get_running_loop()
        waiter = self._waiters[ticket] = self._loop.create_future()
        try:
            self._look()  # there may be room for it though others wait; and the timer is set
            if waits is not None and not waiter.done():
                await waits()
            if not waiter.done():
                await waiter
            waiter.result()
            room = self.control.redeem(ticket, self._now())
            outcome = DISPATCHED
        except Refused as refused:
            outcome = refused.reason.code
            raise
        finally:
            del self._waiters[ticket]
            waiter.cancel()  # where it has a refusal that came together with the end of the client, that counts as seen
            self.control.leave(ticket, self._now())
            self._observer.passed(ticket, outcome, self._now() - now)
        return Entry(room, self._now() - now)

    def wake(self) -> None:
        """Room may have come free: look once, when whoever says so is done."""
        if self._waiters and not self._due and self._loop is not None:
            self._due = True
            self._loop.call_soon(self._look_now)

    def close(self) -> None:
        """Refuse those that wait, and from now on those that would have to."""
        self._tell(self.control.close(self._now()))
        self._set_timer()

    def fullness(self) -> float:
        """How full the endpoints are together, by the rule's own measure."""
        return self.control.fullness(self._now())

    def stale(self) -> int:
        """How many of them are judged by the ledger alone."""
        return self.control.stale(self._now())

    def _judged(self, ticket: Ticket, outcome: str, began: float) -> None:
        """It was through, or out, at once."""
        self._observer.judged(ticket, outcome, self._now() - began)
        self._observer.passed(ticket, outcome, 0.0)

    def _look_now(self) -> None:
        self._due = False
        self._look()

    def _look(self) -> None:
        now = self._now()
        try:
            self._tell(self.control.expire(now))
            for ticket in self.control.release(now):
                self._let(ticket)
            for running in self.control.evict(now):
                self._observer.evicted(running.priority)
                running.evict()
            self._tell(self.control.expire(now))  # those that were found to come too late
            self._set_timer()
            self._observer.looked(self._now() - now)
        except Exception as surprise:  # a defect of a rule or its reckoning: nobody may wait for ever because of it
            for waiter in self._waiters.values():
                if not waiter.done():
                    waiter.set_exception(surprise)

    def _let(self, ticket: Ticket) -> None:
        waiter = self._waiters[ticket]
        if not waiter.done():
            waiter.set_result(None)

    def _tell(self, refusals: list[tuple[Ticket, Refused]]) -> None:
        for ticket, refused in refusals:
            waiter = self._waiters[ticket]
            if not waiter.done():
                waiter.set_exception(refused)

    def _set_timer(self) -> None:
        """For the next moment at which something is to be done though nothing has happened."""
        at = self.control.wakes_at()
        if at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, at
        if at is not None and self._loop is not None:
            self._timer = self._loop.call_later(max(0.0, at - self._now()), self._ring)

    def _ring(self) -> None:
        self._timer = self._timer_at = None
        self._look()
