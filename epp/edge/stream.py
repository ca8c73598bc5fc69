"""One ext_proc stream, whatever carries it: bytes in, bytes out, one coroutine, no task.

Must stay true: however the stream ends (finish, cancel at any wait, reset, defect) its lease is closed once and its
receipt gets an outcome.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError, Timeout, get_running_loop, timeout
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from traceback import format_tb

from epp.domain import Reason, Refused
from epp.edge.deciding import Counts, Decides
from epp.edge.methods import Disconnected, Read, Reading, Write
from epp.edge.tracing import Trace, Tracer
from epp.outcome import Routed
from epp.protocol.answer import AnswerReader
from epp.protocol.codec import BadMessage, chunk_head, decode, encode, is_of_response, piece_in
from epp.protocol.exchange import Buffers, Exchange
from epp.protocol.messages import (
    Body,
    BodyReply,
    Chunk,
    Decide,
    Event,
    Extend,
    Headers,
    Reply,
    Side,
    TrailersReply,
)
from epp.protocol.upstream import fault

log = logging.getLogger(__name__)
_RESPONSE = Side.RESPONSE  # as in `exchange.py`


class _Evicted(Exception):
    """The request is to end, so that others find room."""


class Defect(Exception):
    """One of our own ended the stream; it names the kind and nothing of the request."""


@dataclass(slots=True)
class Shared:
    """What all streams have in common.

    A request body that stands still for `body_idle_s` is given up: in full duplex nobody else would.
    Where the gateway shows no response bodies, one answer in `sample_every` is asked for in pieces (0: none), so that
    token counts are known of a sample. `restore_model` puts the name the client asked for back into answers.
    `first_of_two` as in `Exchange`. Without a `tracer` there are no traces.
    """

    buffers: Buffers
    sample_every: int = 0
    restore_model: bool = False
    body_idle_s: float = 60.0
    first_of_two: bool = False
    tracer: Tracer | None = None
    answers: int = 0

    def sample(self) -> bool:
        """Whether the answer that begins now is one to look at."""
        self.answers += 1
        return self.sample_every > 0 and self.answers % self.sample_every == 0


class Stream:
    """Runs one exchange between a reader (None at the end) and a writer of ext_proc messages."""

    def __init__(self, director: Decides, telemetry: Counts, now: Callable[[], float], shared: Shared) -> None:
        self._director = director
        self._telemetry = telemetry
        self._now = now
        self._shared = shared
        self._exchange = Exchange(shared.buffers, first_of_two=shared.first_of_two)
        self._answer = AnswerReader()
        self._routed: Routed | None = None
        self._seen: Headers | None = None
        self._began = 0.0
        self._gathered = False
        self._body_asked_for = False
        self._answer_began: float | None = None
        self._answer_work_s = 0.0
        self._evicted = False
        self._inbox: Sized = ()  # what has come and is not read, where the reader tells
        self._interruptible: Timeout | None = None
        self._pace: Callable[[float], None] | None = None
        self._last_piece = 0.0
        self._trace: Trace | None = None

    async def run(self, read: Read, write: Write) -> None:
        """Until the peer ends the stream. Raises `BadMessage` for what is no ext_proc message or out of order."""
        self._began = self._now()
        outcome, code = "error", "Internal"
        if isinstance(read, Reading):
            read.passing = self._passing
            self._inbox = read.inbox
        try:
            while await self._step(read, write):
                pass
            outcome, code = self._outcome(), "Canceled" if isinstance(read, Reading) and read.gone else "OK"
        except Disconnected:
            outcome, code = self._outcome(), "Canceled"
        except CancelledError:
            outcome, code = self._outcome(), "Canceled"
            raise
        except BadMessage:
            code = "InvalidArgument"
            raise
        except Exception as surprise:
            raise self._defect(surprise) from None  # its text may hold a prompt, and gRPC logs what it is given
        finally:
            self._close(outcome)
            self._telemetry.stream_ended(code, self._now() - self._began)

    def _outcome(self) -> str:
        """A reset is a normal end once the answer is through."""
        if self._routed is not None and self._routed.lease is None:
            return "passed_on"  # the second stream of the request has the lease, and counts the request
        through = self._exchange.answered or (self._sees_no_body and self._exchange.status is not None)
        return "completed" if through else "disconnected"

    @property
    def _sees_no_body(self) -> bool:
        """Whether no response body is shown: none was promised, or we asked for it and none has come."""
        if self._body_asked_for:
            return self._answer.bytes_seen is None
        return not self._exchange.shows_response_body

    def _defect(self, surprise: Exception) -> Defect:
        if self._telemetry.surprise(surprise):
            where = "".join(format_tb(surprise.__traceback__)[-2:])
            log.error("surprise %s ended a stream\n%s", type(surprise).__name__, where)
        return Defect(type(surprise).__name__)

    async def _step(self, read: Read, write: Write) -> bool:
        """One message and its replies; false at the end. On its own, so that no body outlives its turn."""
        try:
            data = await (self._next(read) if self._may_stop_waiting() else read())
            if data is None:
                return False
            event = decode(data)
            replies = self._respond(event) if event.side is _RESPONSE else await self._react(event, write)
            more = True
        except _Evicted:
            replies, more = self._end_for_others(), False
        except Refused as stalled:
            replies, more = self._refuse(stalled), False
        for reply in replies:
            await write(encode(reply))
        return more

    def _may_stop_waiting(self) -> bool:
        """Whether the next message is not waited for as long as the gateway likes."""
        if self._inbox and not self._evicted:
            return False  # it is here
        gives_way = self._routed is not None and self._routed.running is not None
        return (gives_way or self._exchange.awaits_piece) and not self._exchange.answered

    def _passing(self, data: bytes) -> list[bytes] | None:
        """The replies to a message of the response, which nothing holds up; None for any other."""
        if self._interruptible is not None:
            return None
        answer = self._answer
        if self._exchange.echoes and answer.restorer is None:
            piece = piece_in(data)
            if piece is not None:  # as nearly all: the same as below, without the values in between
                began, pace = self._now(), self._pace
                answer.note(piece)
                if pace is not None:
                    pace(began - self._last_piece)
                    self._last_piece = began
                self._answer_work_s += self._now() - began
                return [chunk_head(_RESPONSE, len(piece), 0) + piece]
        if not is_of_response(data):
            return None
        event = decode(data)
        if event.side is not _RESPONSE:
            return None
        replies = self._respond(event)
        return [encode(replies[0])] if len(replies) == 1 else [encode(reply) for reply in replies]

    async def _next(self, read: Read) -> bytes | None:
        """The next message; Refused when a body stands still. Other waits are for the gateway to end.

        Raises _Evicted when the request is to make room for others.
        """
        idle_s = self._shared.body_idle_s if self._exchange.awaits_piece else None
        if self._evicted:
            raise _Evicted
        try:
            async with timeout(idle_s) as self._interruptible:
                return await read()
        except TimeoutError:
            if self._evicted:
                raise _Evicted from None
            raise Refused(Reason.REQUEST_TIMEOUT, "the rest of the request body did not come in time") from None
        finally:
            self._interruptible = None

    def _evict(self) -> None:
        """Others need the place; called from their tasks."""
        self._evicted = True
        if self._interruptible is not None:
            self._interruptible.reschedule(get_running_loop().time())

    def _end_for_others(self) -> list[Reply]:
        routed, self._routed = self._routed, None
        assert routed is not None
        answered = self._director.evicted(routed)
        self._end(routed, answered.receipt.outcome)
        return self._exchange.answer(answered.immediate)

    async def _react(self, event: Event, write: Write) -> list[Reply]:
        if isinstance(event, Headers):
            self._seen = event
        replies: list[Reply] = []
        try:
            for action in self._exchange.receive(event):
                if isinstance(action, Decide):
                    replies += await self._decide(action, write)
                else:
                    replies.append(action)
        except Refused as refused:
            return self._refuse(refused)
        return replies

    def _refuse(self, refused: Refused) -> list[Reply]:
        """The exchange or the clock gave the request up before the director saw it, or saw its body."""
        self._supersede()
        seen = self._seen or Headers(Side.REQUEST, {})
        answered = self._director.refuse(Decide(seen.headers, None, seen.subset, seen.attributes), refused)
        self._telemetry.ended(answered.receipt)
        self._begin_trace(seen.headers)
        if self._trace is not None:
            self._trace.ended(answered.receipt)
        return self._exchange.answer(answered.immediate)

    def _begin_trace(self, headers: Mapping[str, str]) -> None:
        if self._shared.tracer is not None and self._trace is None:
            self._trace = self._shared.tracer.start(headers, self._began)

    async def _decide(self, ask: Decide, write: Write) -> list[Reply]:
        if not self._gathered:
            self._gathered = True
            self._telemetry.gathered(self._now() - self._began)
        self._begin_trace(ask.headers)
        before = self._routed

        async def extend(seconds: float) -> None:
            await write(encode(Extend(seconds)))

        prefer = before.lease.endpoint if before and before.lease else None
        outcome = await self._director.decide(ask, prefer, extend)
        self._supersede()
        if isinstance(outcome, Routed):
            self._routed = outcome
            self._director.may_evict(outcome, self._evict)
            if self._trace is not None:
                self._trace.routed(outcome)
            replies = self._exchange.routed(outcome.route)
            outcome.route.body = None  # an answer may run for minutes; the replies carry the body
            return replies
        self._telemetry.ended(outcome.receipt)
        if self._trace is not None:
            self._trace.ended(outcome.receipt)
        return self._exchange.answer(outcome.immediate)

    def _supersede(self) -> None:
        """The choice by the headers alone gives way to what the body brings."""
        if self._routed is not None:
            self._end(self._routed, "superseded")
            self._routed = None

    def _respond(self, event: Event) -> list[Reply]:
        """The response goes on in the same call; what it tells is noted on the way."""
        began, routed, exchange = self._now(), self._routed, self._exchange
        if type(event) is Body:  # first, as the most
            replies = exchange.respond(self._answer.see(event)[0])
            if event.end and replies:
                self._report(replies)
            if routed is not None:
                self._note_piece(event, routed, began)
        elif type(event) is Headers:
            if routed is not None:
                self._begin_answer(event, routed)
            self._answer.see(event)
            if self._answer.restorer is not None:
                exchange.response_length_may_change()
            replies = exchange.respond(event)
            if routed is not None:
                self._note_headers(event, routed, began)
        else:
            replies = [reply for one in self._answer.see(event) for reply in exchange.respond(one)]
            if replies:
                self._report(replies)
        self._answer_work_s += self._now() - began
        return replies

    def _report(self, replies: list[Reply]) -> None:
        """With the end of an answer the gateway is told what plugins make of it."""
        if self._routed is None or not self._director.reporting:
            return
        metadata = self._director.reports(self._routed, self._answer.end())
        last = replies[-1]
        if metadata and isinstance(last, Chunk | BodyReply | TrailersReply):
            last.metadata = metadata

    def _begin_answer(self, event: Headers, routed: Routed) -> None:
        if self._shared.sample():
            self._body_asked_for = self._exchange.show_response_body()
        if self._shared.restore_model and self._exchange.may_change_response:
            self._answer = AnswerReader(routed.receipt.model, routed.receipt.asked_model)
        self._director.heads(routed, event.served)

    def _note_piece(self, event: Body, routed: Routed, now: float) -> None:
        """The prompt is computed; and then the pace."""
        if routed.receipt.first_answer_s is None:
            self._begin_pieces(routed, now)
        elif self._pace is not None and event.data:
            self._pace(now - self._last_piece)
            self._last_piece = now

    def _note_headers(self, event: Headers, routed: Routed, now: float) -> None:
        """Of headers that nothing follows: the prompt is computed."""
        receipt = routed.receipt
        receipt.status = self._exchange.status
        receipt.fault = fault(receipt.status, event.attributes)
        receipt.stream = receipt.stream or self._answer.is_stream
        self._answer_began = now
        if self._sees_no_body or event.end:
            if not (receipt.stream and self._settles_itself(routed)):
                self._prefilled(routed)
            if not self._body_asked_for or event.end:
                receipt.first_answer_s = now - receipt.time

    def _begin_pieces(self, routed: Routed, now: float) -> None:
        routed.receipt.first_answer_s = now - routed.receipt.time
        self._prefilled(routed)
        self._director.answered(routed)
        self._last_piece = now
        if routed.receipt.stream:
            self._pace = self._telemetry.pace(routed.receipt)

    def _prefilled(self, routed: Routed) -> None:
        if routed.lease is not None:
            routed.lease.prefilled(self._now())

    def _settles_itself(self, routed: Routed) -> bool:
        """Headers of a streamed answer come before its first token; the ledger knows better when that should be."""
        return routed.lease is not None and routed.lease.blind

    def _close(self, outcome: str) -> None:
        self._exchange.close()
        routed, self._routed = self._routed, None
        if self._answer_began is not None:
            self._telemetry.responded(self._answer_work_s)
        if routed is None:
            if self._trace is not None:
                self._trace.abandoned()
            return
        receipt = routed.receipt
        receipt.usage, receipt.answer_bytes = self._answer.end(), self._answer.bytes_seen
        if self._answer.defect is not None:
            self._telemetry.surprise(self._answer.defect)
        if receipt.first_answer_s is None and self._answer_began is not None and self._sees_no_body:
            receipt.first_answer_s = self._answer_began - receipt.time
        self._end(routed, outcome)

    def _end(self, routed: Routed, outcome: str) -> None:
        routed.receipt.outcome = outcome
        routed.receipt.ended_s = self._now() - routed.receipt.time
        self._director.ended(routed)
        self._telemetry.ended(routed.receipt)
        if self._trace is not None and outcome != "superseded":  # then it goes on by another choice
            self._trace.ended(routed.receipt)
