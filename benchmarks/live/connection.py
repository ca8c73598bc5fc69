"""One HTTP/1.1 connection of a load generator, and what it sees of the answer it waits for.

Must stay true: every request that was begun ends once, whatever happens to its connection.
"""

from __future__ import annotations

import asyncio
import re
import time
from array import array
from collections.abc import Callable
from typing import Any

from benchmarks.live.messages import BROKEN, CUT, LOST, Sample
from epp.edge.http1 import Answer, BadHttp

BODY_BYTES_MAX = 1 << 30
TAIL_BYTES = 1024  # where the last events of a stream are
_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')
_EVENT_END = b"\n\n"
_LAST_EVENT = b"data: [DONE]"


class Incoming(Answer):
    """An answer whose body is taken as it comes."""

    __slots__ = ()

    def take(self) -> list[bytes]:
        """The pieces since the last time."""
        pieces, self._body = self._body, []
        return pieces


class Flight:
    """A request under way."""

    __slots__ = ("_answer", "_carry", "_events", "_first", "_gaps", "_last", "_reads", "_tail", "due", "sent", "shot")

    def __init__(self, shot: int, due: float, gaps: array[float]) -> None:
        self.shot = shot
        self.due = due
        """By `time.monotonic`, when it was meant to be sent."""
        self.sent: float | None = None
        self._gaps = gaps
        self._answer = Incoming(BODY_BYTES_MAX)
        self._first: float | None = None
        self._last = 0.0
        self._events = 0
        self._reads = 0
        self._carry = b""
        self._tail = b""

    @property
    def done(self) -> bool:
        """Whether the answer is whole."""
        return self._answer.done

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry the next request."""
        return self._answer.keep

    def feed(self, data: bytes, now: float) -> None:
        """Bytes of the answer. Raises BadHttp."""
        self._answer.feed(data)
        pieces = self._answer.take()
        if not pieces:
            return
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        seen = self._carry + piece
        events = seen.count(_EVENT_END)
        self._carry = b"\n" if seen.endswith(b"\n") and not seen.endswith(_EVENT_END) else b""
        self._tail = piece[-TAIL_BYTES:] if len(piece) >= TAIL_BYTES else (self._tail + piece)[-TAIL_BYTES:]
        if events:
            if self._first is None:
                self._first = now
            else:
                self._gaps.append(now - self._last)
            self._last = now
            self._events += events
            self._reads += 1

    def eof(self) -> None:
        """The server closed. Raises BadHttp where the answer is not whole then."""
        self._answer.eof()

    def sample(self, began: float, now: float, stream: bool) -> Sample:
        """A whole answer's."""
        answer = self._answer
        fine = answer.status == 200
        cut = fine and stream and _LAST_EVENT not in self._tail
        told = _TOKENS.search(self._tail)
        tokens = int(told[1]) if told else max(0, self._events - 1)
        return Sample(
            shot=self.shot,
            at=self.due - began,
            status=CUT if cut else str(answer.status),
            late_s=None if self.sent is None else self.sent - self.due,
            ttft_s=None if self._first is None or not stream else self._first - self.due,
            e2e_s=now - self.due,
            tokens=tokens if fine else 0,
            reads=self._reads,
        )

    def failed(self, began: float, why: str) -> Sample:
        """That of one that got no whole answer."""
        late = None if self.sent is None else self.sent - self.due
        return Sample(self.shot, self.due - began, why, late)


class Connection(asyncio.Protocol):
    """Carries one request at a time; `over` hears of each, with why it failed or None."""

    def __init__(self, over: Callable[[Connection, Flight, str | None, float], None]) -> None:
        self._over = over
        self._transport: Any = None
        self._flight: Flight | None = None
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.open = True

    def ask(self, flight: Flight, request: bytes) -> None:
        """Send it; only on a connection that carries none."""
        assert self._flight is None, "a connection carries one request at a time"
        self._flight = flight
        flight.sent = time.monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        flight = self._flight
        if flight is None:  # an answer to nothing, or the rest of one that is over
            self.abort()
            return
        try:
            flight.feed(data, now)
        except BadHttp:
            self._end(flight, BROKEN, now)
            self.abort()
            return
        if flight.done:
            if not flight.reusable:
                self.abort()
            self._end(flight, None, now)

    def connection_lost(self, exc: Exception | None) -> None:
        now = time.monotonic()
        self.open = False
        if (flight := self._flight) is None:
            return
        try:
            flight.eof()
        except BadHttp:
            self._end(flight, LOST, now)
        else:
            self._end(flight, None, now)

    def give_up(self, why: str) -> None:
        """End the request under way."""
        if self._flight is not None:
            self._end(self._flight, why, time.monotonic())
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self.open = False
        self._transport.abort()

    def _end(self, flight: Flight, why: str | None, now: float) -> None:
        self._flight = None
        self._over(self, flight, why, now)
