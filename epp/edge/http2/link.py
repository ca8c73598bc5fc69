"""One connection as asyncio sees it: the socket's bytes into `Connection`, its events to the calls, their answers back.

What follows from one read is answered in one write, but a PING before any work, and many calls in between; and large
bodies are acknowledged as they are read: a gateway whose PING stands behind them ends a connection on which it hears
nothing (Envoy waits on for as long as frames of any kind come). What calls say at other times is sent at the end of the
loop's turn, also in one. Must stay true: while the socket takes nothing, nothing is given to it; whatever ends the
connection, every call on it is told.
"""

from __future__ import annotations

import ssl
from asyncio import AbstractEventLoop, Protocol, TimerHandle, Transport
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from epp.edge.http2 import answers
from epp.edge.http2.call import Call
from epp.edge.http2.connection import Connection
from epp.edge.http2.declined import Declined
from epp.edge.http2.events import Broken, Drained, Ended, Lost, Message, Opened, Pong, Reset
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.secure import HANDSHAKE_BYTE, Contexts, Secure
from epp.edge.http2.stream import Http2Stream
from epp.edge.http2.tally import Tally
from epp.edge.methods import Methods
from epp.edge.status import Code

LOOKS = 4  # at a connection, in the shortest of its times
LOOK_S_MAX, LOOK_S_MIN = 5.0, 0.005
EVENTS_A_WRITE = 32  # of one read
READ_BYTES_FULL = 200_000  # uvloop's buffer, nearly: after that it reads on, 32 times, before it looks at others
# Of bodies that nothing is answered to yet: after so much and so long the peer hears that they are read.
UNTOLD_BYTES_MAX, UNTOLD_S_MAX = 65_536, 0.1
WRITE_BYTES_HIGH = 262_144  # more than that the socket is not given before it has taken it
LINGER_S = 2.0  # for the last bytes of a connection to be taken, and for the peer to close as well
_ALIVE, _LEAVE = b"alive? \0", b"leaving\0"
_NOT_GRPC = b"This port speaks gRPC.\n"
_UNKNOWN_ENCODING = answers.trailers(Code.UNIMPLEMENTED, "this grpc-encoding is not known here")


@dataclass(frozen=True, slots=True)
class Served:
    """What all connections of a server share. `contexts` is None in cleartext; `detects` takes both on one port."""

    methods: Methods
    limits: Http2Limits
    tally: Tally
    contexts: Contexts | None = None
    detects: bool = False


class Link(Protocol):
    """One connection. `left` is told when it is gone; `age_s` is how old it may get (0: as old as it likes)."""

    def __init__(
        self, served: Served, loop: AbstractEventLoop, left: Callable[[Link], None], age_s: float = 0.0
    ) -> None:
        self._served = served
        self._limits = served.limits
        self._loop = loop
        self._left = left
        self._age_s = age_s
        self._began = now = loop.time()
        self._connection = Connection(served.limits, now)
        self._transport: Transport | None = None
        self._secure: Secure | None = None
        self._first = True
        self._settling = False
        self._settles_soon = False
        self._timer: TimerHandle | None = None
        self._heard_at = self._taken_at = now
        self._asked_at: float | None = None
        self._doubted = False
        self._leaving_at: float | None = None
        self._closing = False

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._connection.streams)

    # What asyncio tells.

    def connection_made(self, transport: Any) -> None:
        """Somebody is there."""
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BYTES_HIGH)
        self._served.tally.connected()
        self._look()
        if self._served.contexts is None:
            self._first = False
            self._settle()

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer, and everything that follows from them."""
        if self._closing:
            return
        self._heard_at = now = self._loop.time()
        if len(data) >= READ_BYTES_FULL:
            self._take_turns()
        self._asked_at = None
        self._doubted = False
        if self._first:
            self._begin(data)
        if self._secure is not None:
            try:
                data = self._secure.receive(data)
            except ssl.SSLError:
                self._flush_secure(self._secure)  # the alert says why
                self._close()
                return
            if self._secure.ended:
                self._close()
                return
        self._connection.receive(data, now)
        if now - self._taken_at > UNTOLD_S_MAX:
            self._connection.tell_received(UNTOLD_BYTES_MAX)
        self._settle(now)

    def eof_received(self) -> bool:
        """The peer sends nothing more: no call can end well after that."""
        return False

    def pause_writing(self) -> None:
        """The socket takes nothing."""
        self._connection.outbound.held = True

    def resume_writing(self) -> None:
        """It does again."""
        self._connection.outbound.held = False
        self._settle()

    def connection_lost(self, _: Exception | None) -> None:
        """It is over."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._connection.fail(ErrorCode.NO_ERROR, "gone")
        self._settle()
        self._served.tally.disconnected()
        self._left(self)

    # What calls say (`Way`).

    def read(self, stream: Http2Stream, size: int) -> None:
        """A message was read."""
        self._connection.read(stream, size)
        if not self._settling:
            self._settle_soon()

    def send(self, stream: Http2Stream, message: bytes) -> None:
        """A message of the answer."""
        self._connection.send(stream, message)
        if not self._settling:
            self._settle_soon()

    def finish(self, stream: Http2Stream, code: Code, text: str) -> None:
        """The end of the answer."""
        self._connection.finish(stream, code, text)
        self._settle_soon()

    def abort(self, stream: Http2Stream, code: ErrorCode) -> None:
        """The end without an answer."""
        self._connection.abort(stream, code)
        self._settle_soon()

    # What the server says.

    def leave(self) -> None:
        """Ask the peer to go elsewhere: its streams end as they would, and then the connection."""
        if self._leaving_at is None:
            self._leaving_at = self._loop.time()
            self._connection.announce_end()
            self._connection.ping(_LEAVE)  # when that comes back, what was under way is here
            self._settle_soon()

    def cut(self) -> None:
        """End it now, whatever is open."""
        self._connection.fail(ErrorCode.NO_ERROR, "leaving")
        self._settle_soon()

    def drop(self) -> None:
        """Wait for the peer no longer."""
        if self._transport is not None:
            self._transport.abort()

    # How it goes on.

    def _begin(self, data: bytes) -> None:
        """The first bytes say whether this is TLS, where both may come."""
        self._first = False
        contexts = self._served.contexts
        if contexts is not None and not (self._served.detects and data[0] != HANDSHAKE_BYTE):
            self._secure = Secure(contexts())

    def _take_turns(self) -> None:
        """Other connections are read before this one is again, and time goes on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _settle_soon(self) -> None:
        if not (self._settling or self._settles_soon):
            self._settles_soon = True
            self._loop.call_soon(self._settle_now)

    def _settle_now(self) -> None:
        self._settles_soon = False
        self._settle()

    def _settle(self, now: float | None = None) -> None:
        """Until nothing follows from anything: events to the calls, their answers to the socket."""
        if self._settling:
            return
        self._settling = True
        connection = self._connection
        try:
            if connection.pinged:
                connection.pinged = False
                self._write(self._loop.time() if now is None else now)
            while True:
                while connection.events:
                    events, connection.events = connection.events, []
                    for count, event in enumerate(events, 1):
                        if type(event) is Message:
                            stream, data = event.stream, event.data
                            call: Call | Declined | None = stream.call
                            if call is not None and (replies := call.come(data)) is not None:
                                connection.answer(stream, len(data), replies)
                        else:
                            self._on(event)
                        if count % EVENTS_A_WRITE == 0:
                            self._write(self._loop.time())
                if not self._write(self._loop.time() if now is None else now):
                    break
        finally:
            self._settling = False
        if connection.ending and connection.over and not connection.events:
            self._close()

    def _on(self, event: Opened | Ended | Reset | Broken | Drained | Pong | Lost) -> None:
        if type(event) is Opened:
            self._open(event.stream)
        elif type(event) is Lost:
            if event.bound is not None:
                self._served.tally.breached(event.bound)
        elif type(event) is Pong:
            if event.data == _LEAVE:
                self._connection.serve_no_more()
        else:
            self._tell(event)

    def _tell(self, event: Ended | Reset | Broken | Drained) -> None:
        call: Call | Declined | None = event.stream.call
        if call is None:
            return
        if type(event) is Ended:
            call.end()
        elif type(event) is Reset:
            event.stream.call = None
            call.reset()
        elif type(event) is Broken:
            call.stop(event.code, event.text)
        else:
            call.drained()

    def _open(self, stream: Http2Stream) -> None:
        """A request; what is no call of a method that we have is answered here."""
        head = stream.head
        method = self._served.methods.get(head.path.decode("latin-1"))
        if head.method != b"POST":
            self._decline(stream, answers.http_error(405), b"" if head.method == b"HEAD" else _NOT_GRPC)
        elif not head.content_type.startswith(b"application/grpc"):
            self._decline(stream, answers.http_error(415), _NOT_GRPC)
        elif method is None:
            self._connection.finish(stream, Code.UNIMPLEMENTED, "this method is not known here")
        elif head.encoding not in (b"identity", b"gzip"):
            block = answers.GRPC + answers.accepted_encodings() + _UNKNOWN_ENCODING
            self._connection.decline(stream, block)
        else:
            stream.call = call = Call(stream, self, method, self._loop, self._limits)
            call.start()

    def _decline(self, stream: Http2Stream, block: bytes, body: bytes) -> None:
        """What is no gRPC is told so when it has come whole."""

        def answer() -> None:
            self._connection.decline(stream, block, body)
            self._settle_soon()

        stream.call = Declined(stream, self.read, answer)

    def _write(self, now: float) -> bool:
        """Give the socket what it takes; whether something follows from that."""
        connection, transport, secure = self._connection, self._transport, self._secure
        if transport is None or self._closing or transport.is_closing():
            return False
        if secure is not None:
            self._flush_secure(secure)
        if self._first or (secure is not None and not secure.shaken):
            return False
        outbound = connection.outbound
        while not outbound.held and (outbound.frames or outbound.ready):
            data = connection.take(now)
            if not data:
                break
            self._taken_at = now
            if secure is None:
                transport.write(data)
            else:
                secure.send(data)
                self._flush_secure(secure)
        return bool(connection.events)

    def _flush_secure(self, secure: Secure) -> None:
        data = secure.take()
        if data and self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        """Nothing more to say: what is in the socket's buffer still goes, and then our end of the connection.

        What the peer says until it closes, too, is read and dropped: the kernel answers what nobody has read by a
        reset, which can overtake our last words, the GOAWAY and why.
        """
        if self._transport is not None and not self._closing and not self._transport.is_closing():
            self._closing = True
            if self._secure is not None and self._secure.shaken:
                self._secure.close()
                self._flush_secure(self._secure)
            if self._timer is not None:
                self._timer.cancel()
            try:
                self._transport.write_eof()
            except OSError:  # the peer was faster, by a reset
                self._transport.abort()
            else:
                self._timer = self._loop.call_later(LINGER_S, self._transport.abort)

    # What time brings.

    def _look(self) -> None:
        """Look at the clock now and then, rather than at each message."""
        limits = self._limits
        times = [limits.preface_s, limits.keepalive_s, limits.keepalive_timeout_s, limits.stall_s]
        times += [time for time in (self._age_s, limits.age_grace_s) if time]
        every = max(LOOK_S_MIN, min(LOOK_S_MAX, min(times) / LOOKS))
        if self._doubted:  # the answer may lie in the socket, while this loop was busy: it reads before it looks again
            every = LOOK_S_MIN
        self._timer = self._loop.call_later(every, self._looked)

    def _looked(self) -> None:
        now, limits = self._loop.time(), self._limits
        if self._transport is None:
            return
        if not self._connection.ready:
            if now - self._began > limits.preface_s:
                self._end(ErrorCode.SETTINGS_TIMEOUT, "preface_s")
        elif self._connection.outbound.held and now - self._taken_at > limits.stall_s:
            self._end(ErrorCode.ENHANCE_YOUR_CALM, "stall_s")
            self._transport.abort()
            return
        else:
            self._keep_alive(now)
            self._grow_old(now)
        if not self._closing:
            self._look()

    def _keep_alive(self, now: float) -> None:
        """Ask who says nothing whether it is there; a peer that went without a word keeps its streams otherwise."""
        if self._asked_at is not None:
            if now - self._asked_at <= self._patience_s():
                return
            if self._doubted:
                self._end(ErrorCode.NO_ERROR, "keepalive_timeout_s")
            self._doubted = True
        elif now - self._heard_at > self._limits.keepalive_s and not self._connection.outbound.held:
            self._asked_at = now
            self._connection.ping(_ALIVE)
            self._settle()

    def _patience_s(self) -> float:
        """For the answer to a PING, which stands behind what the socket has not taken."""
        limits, transport = self._limits, self._transport
        if transport is not None and transport.get_write_buffer_size():
            return max(limits.keepalive_timeout_s, limits.stall_s)
        return limits.keepalive_timeout_s

    def _grow_old(self, now: float) -> None:
        """Make way after a time, so that load spreads over replicas that came later."""
        if self._age_s and now - self._began > self._age_s:
            self.leave()
        if self._leaving_at is None:
            return
        waited = now - self._leaving_at
        if waited > self._limits.keepalive_timeout_s:
            self._connection.serve_no_more()
            self._settle()
        if self._age_s and self._limits.age_grace_s and waited > self._limits.age_grace_s:
            self.cut()

    def _end(self, code: ErrorCode, bound: str) -> None:
        self._connection.fail(code, bound, bound)
        self._settle()
        self._close()
