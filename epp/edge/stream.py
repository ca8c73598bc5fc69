"""One ext_proc stream, whatever carries it: bytes in, bytes out, one coroutine, no task.

Must stay true: however the stream ends (finish, cancel at any wait, reset, defect) its lease is closed once and its
receipt gets an outcome.
"""

from __future__ import annotations

from asyncio import CancelledError, timeout
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from epp.director import Director
from epp.domain import Reason, Refused
from epp.outcome import Routed
from epp.protocol.answer import AnswerReader
from epp.protocol.codec import decode, encode
from epp.protocol.exchange import Buffers, Exchange
from epp.protocol.messages import Body, Decide, Event, Headers, Reply, Side
from epp.telemetry import Telemetry

Read = Callable[[], Awaitable[bytes | None]]
Write = Callable[[bytes], Awaitable[None]]


class Disconnected(Exception):
    """The peer is gone: nothing can be written to it."""


@dataclass(slots=True)
class Shared:
    """What all streams have in common.

    A request body that stands still for `body_idle_s` is given up: in full duplex nobody else would.
    Where the gateway shows no response bodies, one answer in `sample_every` is asked for in pieces (0: none), so that
    token counts are known of a sample. `restore_model` puts the name the client asked for back into answers.
    """

    buffers: Buffers
    sample_every: int = 0
    restore_model: bool = False
    body_idle_s: float = 60.0
    answers: int = 0

    def sample(self) -> bool:
        """Whether the answer that begins now is one to look at."""
        self.answers += 1
        return self.sample_every > 0 and self.answers % self.sample_every == 0


class Stream:
    """Runs one exchange between a reader (None at the end) and a writer of ext_proc messages."""

    def __init__(self, director: Director, telemetry: Telemetry, now: Callable[[], float], shared: Shared) -> None:
        self._director = director
        self._telemetry = telemetry
        self._now = now
        self._shared = shared
        self._exchange = Exchange(shared.buffers)
        self._answer = AnswerReader()
        self._routed: Routed | None = None
        self._seen: Headers | None = None

    async def run(self, read: Read, write: Write) -> None:
        """Until the peer ends the stream. Raises `BadMessage` for what is no ext_proc message or out of order."""
        outcome = "error"
        try:
            while await self._step(read, write):
                pass
            outcome = self._outcome()
        except Disconnected:
            outcome = self._outcome()
        except CancelledError:
            outcome = self._outcome()
            raise
        finally:
            self._close(outcome)

    def _outcome(self) -> str:
        """A reset is a normal end once the answer is through."""
        return "completed" if self._exchange.answered else "disconnected"

    async def _step(self, read: Read, write: Write) -> bool:
        """One message and its replies; false at the end. On its own, so that no body outlives its turn."""
        try:
            data = await self._next(read)
            if data is None:
                return False
            replies = await self._react(decode(data))
            more = True
        except Refused as stalled:
            replies, more = self._refuse(stalled), False
        for reply in replies:
            await write(encode(reply))
        return more

    async def _next(self, read: Read) -> bytes | None:
        """The next message; Refused when a body stands still. Other waits are for the gateway to end."""
        if not self._exchange.awaits_piece:
            return await read()
        try:
            async with timeout(self._shared.body_idle_s):
                return await read()
        except TimeoutError:
            raise Refused(Reason.REQUEST_TIMEOUT, "the rest of the request body did not come in time") from None

    async def _react(self, event: Event) -> list[Reply]:
        if event.side is Side.RESPONSE:
            return self._respond(event)
        if isinstance(event, Headers):
            self._seen = event
        replies: list[Reply] = []
        try:
            for action in self._exchange.receive(event):
                if isinstance(action, Decide):
                    replies += await self._decide(action)
                else:
                    replies.append(action)
        except Refused as refused:
            return self._refuse(refused)
        return replies

    def _refuse(self, refused: Refused) -> list[Reply]:
        """The exchange or the clock gave the request up before the director saw it."""
        answered = self._director.refuse(Decide(self._seen.headers if self._seen else {}, None, None), refused)
        self._telemetry.ended(answered.receipt)
        return self._exchange.answer(answered.immediate)

    async def _decide(self, ask: Decide) -> list[Reply]:
        before = self._routed
        outcome = await self._director.decide(ask, before.lease.endpoint if before else None)
        if before is not None:  # the headers' choice is replaced by the body's
            self._end(before, "superseded")
            self._routed = None
        if isinstance(outcome, Routed):
            self._routed = outcome
            replies = self._exchange.routed(outcome.route)
            outcome.route.body = None  # an answer may run for minutes; the replies carry the body
            return replies
        self._telemetry.ended(outcome.receipt)
        return self._exchange.answer(outcome.immediate)

    def _respond(self, event: Event) -> list[Reply]:
        """The response goes on in the same call; what it tells is noted on the way."""
        if isinstance(event, Headers) and self._routed is not None:
            self._begin_answer(event, self._routed)
        replies: list[Reply] = []
        for seen in self._answer.see(event):
            for action in self._exchange.receive(seen):
                assert not isinstance(action, Decide)
                replies.append(action)
        if self._routed is not None:
            self._note_answer(event, self._routed)
        return replies

    def _begin_answer(self, event: Headers, routed: Routed) -> None:
        if self._shared.sample():
            self._exchange.show_response_body()
        if self._shared.restore_model and self._exchange.may_change_response:
            self._answer = AnswerReader(routed.receipt.model, routed.receipt.asked_model)
            self._exchange.response_length_may_change()
        if event.served is not None:
            self._director.served(routed, event.served)

    def _note_answer(self, event: Event, routed: Routed) -> None:
        """The first sign that the prompt is computed: a body piece, or headers where no response body is shown."""
        receipt = routed.receipt
        receipt.status = self._exchange.status
        if receipt.first_answer_s is None and (isinstance(event, Body) or not self._exchange.shows_response_body):
            receipt.first_answer_s = self._now() - receipt.time
            routed.lease.prefilled()

    def _close(self, outcome: str) -> None:
        self._exchange.close()
        routed, self._routed = self._routed, None
        if routed is None:
            return
        routed.receipt.usage, routed.receipt.answer_bytes = self._answer.end(), self._answer.bytes_seen
        self._end(routed, outcome)

    def _end(self, routed: Routed, outcome: str) -> None:
        routed.lease.close()
        routed.receipt.outcome = outcome
        routed.receipt.ended_s = self._now() - routed.receipt.time
        self._telemetry.ended(routed.receipt)
