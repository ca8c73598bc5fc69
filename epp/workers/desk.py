"""Where one worker is answered: its streams' questions to the directors, and what it tells of their answers.

Does for a worker's streams what `edge/stream.py` does for its own. Must stay true: what a call holds is given back
once, when the worker says how it ended, when it no longer waits, or when the worker is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from epp.director import Director
from epp.domain import Endpoint, Reason, Receipt, Refused
from epp.edge.http2.drive import Drive
from epp.edge.tracing import Trace, Tracer
from epp.outcome import Answered, Routed
from epp.telemetry import Telemetry
from epp.workers.messages import (
    Answer,
    Asked,
    Counted,
    Down,
    Ended,
    Evict,
    Failed,
    Gone,
    Headed,
    Prefilled,
    RefusedHere,
    Up,
    Wait,
    Way,
)

log = logging.getLogger(__name__)
REASONS = {reason.code: reason for reason in Reason}
CUT_OFF = "Unavailable"  # gRPC's word for how a stream ended whose worker died


@dataclass(frozen=True, slots=True)
class Deciding:
    """What all desks share: a director for each port, who counts, the clock, and who traces, if anybody does."""

    directors: Sequence[Director]
    telemetry: Telemetry
    now: Callable[[], float]
    tracer: Tracer | None = None


@dataclass(slots=True)
class _Call:
    """A decision that was made, or is being made (`routed` None)."""

    director: Director
    began: float
    trace: Trace | None
    deciding: Drive | None = None
    routed: Routed | None = None


@dataclass(slots=True)
class Desk:
    """One worker's. `say` sends to it; `open` and `turned_away` are its streams by port."""

    deciding: Deciding
    say: Callable[[Down], None] = lambda message: None
    decided: int = 0
    connected: int = 0
    disconnected: int = 0
    carrying: int = 0
    open: list[int] = field(default_factory=list)
    turned_away: list[int] = field(default_factory=list)
    _calls: dict[int, _Call] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many of its calls are open."""
        return len(self._calls)

    def heard(self, message: Up) -> None:
        """Do what the worker says; what is about a call that is over changes nothing."""
        match message:
            case Asked():
                self._ask(message)
            case RefusedHere():
                self._refused(message)
            case Counted():
                self._count(message)
            case Gone():
                self._gone(message.call)
            case Headed() | Prefilled() | Ended():
                call = self._calls.get(message.call)
                if call is not None and call.routed is not None:
                    self._told(message, call, call.routed)

    def close(self) -> None:
        """The worker is gone: so are its streams, and whatever they held."""
        for number, call in [*self._calls.items()]:
            self.deciding.telemetry.stream_ended(CUT_OFF, self.deciding.now() - call.began)
            self._gone(number)
        telemetry = self.deciding.telemetry
        telemetry.streams.dec(sum(self.open))
        for _ in range(self.connected - self.disconnected):
            telemetry.disconnected()
        self.open, self.disconnected, self.carrying = [], self.connected, 0

    # Decisions.

    def _ask(self, asked: Asked) -> None:
        before = None if asked.before is None else self._calls.get(asked.before)
        director = self.deciding.directors[asked.port]
        tracer = self.deciding.tracer
        trace = None if before is None else before.trace
        if before is None and tracer is not None:
            trace = tracer.start(asked.ask.headers, asked.began)
        call = self._calls[asked.call] = _Call(director, asked.began, trace)
        prefer = None
        if before is not None and before.routed is not None and before.routed.lease is not None:
            prefer = before.routed.lease.endpoint
        run = self._decide(asked, call, prefer)
        call.deciding = Drive(run, asyncio.get_running_loop(), partial(self._ran, asked.call, call))
        call.deciding.start()

    async def _decide(self, asked: Asked, call: _Call, prefer: Endpoint | None) -> None:
        async def extend(seconds: float) -> None:
            self.say(Wait(asked.call, seconds))

        outcome = await call.director.decide(asked.ask, prefer, extend if asked.extends else None)
        self.decided += 1
        if isinstance(outcome, Answered):
            self._answer(asked.call, call, outcome)
        else:
            self._route(asked.call, call, outcome)

    def _answer(self, number: int, call: _Call, answered: Answered) -> None:
        receipt = answered.receipt
        del self._calls[number]
        self.deciding.telemetry.ended(receipt)
        if call.trace is not None:
            call.trace.ended(receipt)
        self.say(Answer(number, receipt.id, receipt.time, answered.immediate))

    def _route(self, number: int, call: _Call, routed: Routed) -> None:
        call.routed = routed
        call.director.may_evict(routed, partial(self._evict, number))
        if call.trace is not None:
            call.trace.routed(routed)
        receipt, lease, route = routed.receipt, routed.lease, routed.route
        self.say(
            Way(
                number,
                receipt.id,
                receipt.time,
                receipt.model,
                receipt.asked_model,
                receipt.stream,
                receipt.decided_s,
                "" if lease is None else lease.endpoint.address,
                lease is not None,
                lease is not None and lease.blind,
                routed.running is not None,
                route,
            )
        )
        route.body = None  # an answer may run for minutes; the worker has it now

    def _ran(self, number: int, call: _Call, error: BaseException | None) -> None:
        """The decision is made, or will not be."""
        call.deciding = None
        if error is None:
            return
        self._calls.pop(number, None)
        if call.trace is not None:
            call.trace.abandoned()
        if not isinstance(error, asyncio.CancelledError):
            if self.deciding.telemetry.surprise(error):
                log.error("surprise %s ended a decision", type(error).__name__)
            self.say(Failed(number))

    def _evict(self, number: int) -> None:
        self.say(Evict(number))

    def _refused(self, message: RefusedHere) -> None:
        director = self.deciding.directors[message.port]
        refused = Refused(REASONS[message.reason], message.message)
        receipt = director.refuse(message.ask, refused, message.receipt).receipt
        self.deciding.telemetry.ended(receipt)
        if self.deciding.tracer is not None:
            self.deciding.tracer.start(message.ask.headers, message.began).ended(receipt)

    # What becomes of them.

    def _told(self, message: Headed | Prefilled | Ended, call: _Call, routed: Routed) -> None:
        receipt = routed.receipt
        match message:
            case Headed():
                call.director.heads(routed, message.served)
            case Prefilled():
                receipt.status, receipt.stream = message.status, message.stream
                if routed.lease is not None:
                    routed.lease.prefilled(self.deciding.now())
                if message.first_answer_s is not None:
                    receipt.first_answer_s = message.first_answer_s
                    call.director.answered(routed)
            case Ended():
                self._ended(message, routed, receipt)
                del self._calls[message.call]
                self._close(call, routed, message.outcome, message.ended_s)

    def _ended(self, message: Ended, routed: Routed, receipt: Receipt) -> None:
        receipt.first_answer_s, receipt.usage = message.first_answer_s, message.usage
        receipt.stream, receipt.answer_bytes = message.stream, message.answer_bytes
        if message.outcome == Reason.EVICTED.code:
            self._calls[message.call].director.evicted(routed)
        else:
            receipt.status, receipt.fault = message.status, message.fault
        if message.gaps is not None:
            self.deciding.telemetry.paced(receipt, *message.gaps)

    def _gone(self, number: int) -> None:
        call = self._calls.get(number)
        if call is None:
            return
        if call.deciding is not None:
            call.deciding.cancel()
        if call.routed is not None:
            del self._calls[number]
            self._close(call, call.routed, "disconnected", self.deciding.now() - call.routed.receipt.time)

    def _close(self, call: _Call, routed: Routed, outcome: str, ended_s: float) -> None:
        receipt = routed.receipt
        receipt.outcome, receipt.ended_s = outcome, ended_s
        call.director.ended(routed)
        self.deciding.telemetry.ended(receipt)
        if call.trace is not None and outcome != "superseded":  # then it goes on by another choice
            call.trace.ended(receipt)

    def _count(self, said: Counted) -> None:
        telemetry = self.deciding.telemetry
        telemetry.streams.inc(sum(said.open) - sum(self.open))
        for _ in range(said.connected - self.connected):
            telemetry.connected()
        for _ in range(said.disconnected - self.disconnected):
            telemetry.disconnected()
        self.open, self.turned_away, self.carrying = said.open, said.turned_away, said.carrying
        self.connected, self.disconnected = said.connected, said.disconnected
        for seconds in said.gathered:
            telemetry.gathered(seconds)
        for seconds in said.responded:
            telemetry.responded(seconds)
        for code, seconds in said.ended:
            telemetry.stream_ended(code, seconds)
        for bound in said.breaches:
            telemetry.breached(bound)
        for kind in said.surprises:
            telemetry.surprise(type(kind, (Exception,), {})())
