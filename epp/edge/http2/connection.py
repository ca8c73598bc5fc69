"""One HTTP/2 connection of a gRPC server (RFC 9113), without I/O: bytes in, events out; calls in, bytes out.

Must stay true: whatever the peer sends, `receive` raises nothing; a mistake of the peer's ends the stream or the
connection as the RFC says, going beyond a bound of ours ends the connection, and every stream that was opened ends
once (`Reset`, or by our own `finish`). Both windows are kept to the byte, and so is HPACK's table.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from epp.edge.http2 import answers, frames
from epp.edge.http2.blocks import Block, depends_on, fragment_of, unpadded
from epp.edge.http2.bounds import Bounds, Fatal
from epp.edge.http2.budget import Budget
from epp.edge.http2.closed import Closed, ClosedStreams
from epp.edge.http2.events import Broken, Drained, Ended, Event, Lost, Opened, Pong, Reset
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.head import BadBlock, Head, HeadReader, TooLarge
from epp.edge.http2.inbound import PREFIX_BYTES, Inbound
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.outbound import Outbound
from epp.edge.http2.stream import Http2Stream
from epp.edge.status import Code

FREE_WINDOW_UPDATES = 2  # for each DATA frame of ours
_NUMBER = Struct(">L")
_SETTING = frames.SETTING
# By names of this module: they are looked up for every frame.
_UNPACK = frames.FRAME_HEADER.unpack_from
_DATA, _FRAME_BYTES_MAX, _STREAM_ID = frames.DATA, frames.FRAME_BYTES_DEFAULT, frames.STREAM_ID_LARGEST
_END_STREAM, _PADDED = frames.END_STREAM, frames.PADDED
_BY_RESET, _BY_BOTH = Closed.BY_RESET, Closed.BY_BOTH


class Connection:
    """The server's side. `events` grow with every call; whoever serves takes them, and what `take` gives to the socket.

    `began` is the time now, in monotonic seconds; so is every `now`.
    """

    def __init__(self, limits: Http2Limits, began: float) -> None:
        self.limits = limits
        self.events: list[Event] = []
        self.streams: dict[int, Http2Stream] = {}
        self.last_id = 0
        self.pinged = False  # whether an answer to a PING is among what `take` gives; for whoever serves to take back
        self.ready = False  # whether the peer's preface and first settings are here
        self.lost = False
        self.ending = False  # whether it will be over when its streams are: lost, or one side leaves
        self._rest = b""
        self._preface = frames.PREFACE
        self._block: Block | None = None
        self._closed = ClosedStreams()
        self._heads = HeadReader(limits)
        self._inbound = Inbound(limits.receive_bytes_max)
        self.outbound = Outbound(limits, Budget(limits.crumbs_burst, limits.crumbs_per_s, began))
        self._window = limits.connection_window_bytes
        self._window_low = limits.connection_window_bytes >> 1
        self._credit_at = limits.stream_window_bytes // 2
        self._buffered_bytes_max = limits.buffered_bytes_max
        self._serves_to = frames.STREAM_ID_LARGEST
        self._window_updates = 0
        self._bounds = Bounds(limits, began)
        self._greet()

    # What the peer says.

    def receive(self, data: bytes, now: float) -> None:
        """Bytes from the peer, cut anywhere."""
        if self.lost:
            return
        self._bounds.now = now
        if self._rest:
            data = self._rest + data
            self._rest = b""
        try:
            at = self._greeted(data) if self._preface else 0
            stop = len(data)
            while stop - at >= 9:
                high, low, kind, flags, stream_id = _UNPACK(data, at)
                size = high << 8 | low
                begin = at + 9
                if size > _FRAME_BYTES_MAX or self._block is not None or not self.ready:
                    self._check(kind, flags, stream_id & _STREAM_ID, size)
                if begin + size > stop:
                    break
                at = begin + size
                if kind == _DATA:
                    self._on_data(flags, stream_id & _STREAM_ID, data, begin, at)
                elif kind < len(_HANDLERS):
                    _HANDLERS[kind](self, flags, stream_id & _STREAM_ID, data[begin:at])
                else:
                    self._bounds.idle()
            if at < stop:
                self._rest = data[at:] if at else data
            if self._inbound.held + self.outbound.unsent > self._buffered_bytes_max:
                raise Fatal(ErrorCode.ENHANCE_YOUR_CALM, "too much waits to be read or sent", "buffered_bytes_max")
        except Fatal as fatal:
            self.fail(fatal.code, fatal.why, fatal.bound)

    def _check(self, kind: int, flags: int, stream_id: int, size: int) -> None:
        """Whether a frame may come now, by its header alone."""
        if size > _FRAME_BYTES_MAX:
            raise Fatal(ErrorCode.FRAME_SIZE_ERROR, "a frame larger than we take")
        if not self.ready and (kind != frames.SETTINGS or flags & frames.ACK):
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block.stream_id):
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "a header block is not finished")

    def _greeted(self, data: bytes) -> int:
        """As much of the preface as has come; where it ends."""
        missing = self._preface
        came = data[: len(missing)]
        if not missing.startswith(came):
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "this is not HTTP/2")
        self._preface = missing[len(came) :]
        return len(came)

    def _on_data(self, flags: int, stream_id: int, data: bytes, at: int, stop: int) -> None:
        size = stop - at
        self._window -= size
        # Given back at once: what one stream does not read must not hold up the others. So it never runs out, either.
        if self._window <= self._window_low:
            self.tell_received(1)
        if flags & _PADDED:
            at, stop = unpadded(data, at, stop)
        stream = self.streams.get(stream_id)
        if stream is None or stream.ended_by_peer:
            self._on_late(stream_id, frames.DATA)
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            self._mistake(stream, ErrorCode.FLOW_CONTROL_ERROR)
            return
        stream.got_bytes += stop - at
        if at < stop:
            self._inbound.gather(stream, data, at, stop, self.events)
        elif not flags & _END_STREAM:
            self._bounds.idle()
        if flags & _END_STREAM:
            self._end(stream)
        elif stream.receive_window + stream.unread <= self._credit_at:
            self._credit(stream)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        fragment = fragment_of(flags, stream_id, payload)
        if flags & frames.END_HEADERS:
            self._on_block(stream_id, fragment, bool(flags & frames.END_STREAM))
        else:
            self._block = Block(stream_id, bool(flags & frames.END_STREAM), fragment)

    def _on_continuation(self, flags: int, _: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "a continuation of nothing")
        block.go_on(payload, self.limits)
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(block.stream_id, b"".join(block.fragments), block.end_stream)

    def _on_block(self, stream_id: int, whole: bytes, end_stream: bool) -> None:
        if len(whole) > self.limits.header_block_bytes_max:
            raise Fatal(ErrorCode.ENHANCE_YOUR_CALM, "a header block too large", "header_block_bytes_max")
        try:
            if stream_id > self.last_id:
                if not stream_id & 1:
                    raise Fatal(ErrorCode.PROTOCOL_ERROR, "a stream of the server's")
                self.last_id = stream_id
                self._open(stream_id, self._heads.request(whole), end_stream)
                return
            wrong = self._heads.trailers(whole)
        except BadBlock as bad:
            raise Fatal(ErrorCode.COMPRESSION_ERROR, str(bad)) from None
        except TooLarge:
            raise Fatal(ErrorCode.ENHANCE_YOUR_CALM, "too many headers", "header_list_bytes_max") from None
        stream = self.streams.get(stream_id)
        if stream is None or stream.ended_by_peer:
            self._on_late(stream_id, frames.HEADERS)
        elif wrong is not None or not end_stream:
            self._mistake(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            self._end(stream)

    def _open(self, stream_id: int, head: Head, ends: bool) -> None:
        if stream_id > self._serves_to:
            self._bounds.idle()
            self._closed.remember(stream_id, Closed.BY_US)  # the peer knows from GOAWAY, and asks elsewhere
        elif len(self.streams) >= self.limits.streams_max:
            self._refuse(stream_id)
        else:
            stream = Http2Stream(stream_id, head, self.limits.stream_window_bytes, self.outbound.first_window)
            self.streams[stream_id] = stream
            if head.malformed is not None:
                self._mistake(stream, ErrorCode.PROTOCOL_ERROR, told=False)
                return
            self.events.append(Opened(stream))
            if ends:
                self._end(stream)

    def _refuse(self, stream_id: int) -> None:
        """One stream too many: the peer may ask again, but not for ever."""
        self._bounds.refusal()
        self._closed.remember(stream_id, Closed.BY_US)
        self.outbound.control(frames.reset(stream_id, ErrorCode.REFUSED_STREAM))

    def _on_priority(self, _: int, stream_id: int, payload: bytes) -> None:
        stream = self.streams.get(stream_id)
        if stream_id == 0:
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "priority of no stream")
        self._bounds.idle()
        if len(payload) != 5:
            self._mistaken(stream, ErrorCode.FRAME_SIZE_ERROR, "a priority that is none")
        elif depends_on(payload, 0) == stream_id:
            self._mistaken(stream, ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")

    def _on_reset(self, _: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fatal(ErrorCode.FRAME_SIZE_ERROR, "a reset without a reason")
        if self._is_idle(stream_id):
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "a reset of a stream that is not")
        stream = self.streams.get(stream_id)
        if stream is None:
            self._bounds.idle()
            if self._closed.how(stream_id) is Closed.BY_US:  # nothing can be under way after this
                self._closed.remember(stream_id, Closed.BY_RESET)
            return
        if not stream.headed:
            self._bounds.reset()
        self._forget(stream, _BY_RESET)
        self.events.append(Reset(stream))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "settings of a stream")
        if flags & frames.ACK:
            if payload:
                raise Fatal(ErrorCode.FRAME_SIZE_ERROR, "settings in an acknowledgement")
            self._bounds.idle()
            return
        if len(payload) % 6:
            raise Fatal(ErrorCode.FRAME_SIZE_ERROR, "half a setting")
        self._bounds.settings()
        self.ready = True
        for key, value in _SETTING.iter_unpack(payload):
            self._set(key, value)
        self._control(frames.SETTINGS_ACK)

    def _set(self, key: int, value: int) -> None:
        """One of the peer's settings. Its table size is nothing to us: what we send is not indexed."""
        if key == frames.ENABLE_PUSH and value > 1:
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "push is on or off")
        if key == frames.MAX_FRAME_SIZE:
            if not frames.FRAME_BYTES_DEFAULT <= value <= frames.FRAME_BYTES_LARGEST:
                raise Fatal(ErrorCode.PROTOCOL_ERROR, "no frame has this size")
            self.outbound.frame_bytes_max = value
        elif key == frames.INITIAL_WINDOW_SIZE:
            if value > frames.WINDOW_LARGEST:
                raise Fatal(ErrorCode.FLOW_CONTROL_ERROR, "no window has this size")
            more = value - self.outbound.first_window
            self.outbound.first_window = value
            for stream in self.streams.values():
                if not self.outbound.widen_stream(stream, more):
                    raise Fatal(ErrorCode.FLOW_CONTROL_ERROR, "a window grew too large")

    def _on_push(self, _: int, __: int, ___: bytes) -> None:
        raise Fatal(ErrorCode.PROTOCOL_ERROR, "clients push nothing")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "a ping of a stream")
        if len(payload) != 8:
            raise Fatal(ErrorCode.FRAME_SIZE_ERROR, "a ping that is none")
        if flags & frames.ACK:
            self._bounds.idle()
            self.events.append(Pong(payload))
            return
        self._bounds.ping()
        self._control(frames.frame(frames.PING, frames.ACK, 0, payload))
        self.pinged = True

    def _on_goaway(self, _: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "a goodbye of a stream")
        if len(payload) < 8:
            raise Fatal(ErrorCode.FRAME_SIZE_ERROR, "a goodbye without a reason")
        self._bounds.idle()
        self.ending = True

    def _on_window_update(self, _: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fatal(ErrorCode.FRAME_SIZE_ERROR, "a window update that is none")
        self._window_updates += 1
        if self._window_updates > FREE_WINDOW_UPDATES * self.outbound.data_frames:
            self._bounds.idle()
        increment = _NUMBER.unpack(payload)[0] & frames.WINDOW_LARGEST
        if stream_id == 0:
            if increment == 0:
                raise Fatal(ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
            if not self.outbound.widen(increment):
                raise Fatal(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window grew too large")
            return
        if self._is_idle(stream_id):
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "a window of a stream that is not")
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        if increment == 0:
            self._mistake(stream, ErrorCode.PROTOCOL_ERROR)
        elif not self.outbound.widen_stream(stream, increment):
            self._mistake(stream, ErrorCode.FLOW_CONTROL_ERROR)

    def _on_late(self, stream_id: int, kind: int) -> None:
        """DATA or HEADERS on a stream that takes none (section 5.1)."""
        stream = self.streams.get(stream_id)
        how = self._closed.how(stream_id)
        if how is Closed.BY_US:
            self._bounds.idle()
        elif self._is_idle(stream_id) or (kind == frames.HEADERS and stream is None and how is None):
            raise Fatal(ErrorCode.PROTOCOL_ERROR, "a stream that is not")
        elif kind == frames.HEADERS:
            raise Fatal(ErrorCode.STREAM_CLOSED, "headers on a stream that has ended")
        elif stream is not None:
            self._mistake(stream, ErrorCode.STREAM_CLOSED)
        else:
            self._bounds.reset()
            self._closed.remember(stream_id, Closed.BY_US)
            self.outbound.control(frames.reset(stream_id, ErrorCode.STREAM_CLOSED))

    def _end(self, stream: Http2Stream) -> None:
        """The peer has said all on this stream."""
        stream.ended_by_peer = True
        length = stream.head.content_length
        if length is not None and length != stream.got_bytes:
            self._mistake(stream, ErrorCode.PROTOCOL_ERROR)
        elif stream.parts is not None:
            self.events.append(Broken(stream, Code.INTERNAL, "the stream ends within a message"))
        else:
            self.events.append(Ended(stream))

    # What we say.

    def read(self, stream: Http2Stream, size: int) -> None:
        """A message of this size was read: the peer may send more."""
        if stream.id in self.streams:
            size += PREFIX_BYTES
            stream.unread -= size
            self._inbound.held -= size
            if not stream.ended_by_peer and stream.receive_window + stream.unread <= self._credit_at:
                self._credit(stream)

    def send(self, stream: Http2Stream, message: bytes) -> None:
        """A message of the answer; `stream.unsent` says how much must wait. Of a stream that is gone, nothing goes."""
        if stream.id in self.streams:
            self.outbound.message(stream, message)

    def answer(self, stream: Http2Stream, size: int, messages: Sequence[bytes]) -> None:
        """A message of this size was read, and these answer it: `read` and `send` in one."""
        if stream.id in self.streams:
            size += PREFIX_BYTES  # from here to the loop as `read`, without its call
            stream.unread -= size
            self._inbound.held -= size
            if not stream.ended_by_peer and stream.receive_window + stream.unread <= self._credit_at:
                self._credit(stream)
            for message in messages:
                self.outbound.message(stream, message)

    def finish(self, stream: Http2Stream, code: Code, text: str = "") -> None:
        """The end of the answer, after what waits to be sent."""
        if stream.id in self.streams and self.outbound.end(stream, answers.trailers(code, text)):
            self._ended(stream)

    def decline(self, stream: Http2Stream, block: bytes, body: bytes = b"") -> None:
        """An answer of these headers and plain bytes, instead of any other."""
        if stream.id in self.streams and self.outbound.answer(stream, block, body):
            self._ended(stream)

    def abort(self, stream: Http2Stream, code: ErrorCode) -> None:
        """End a stream without an answer."""
        if self._forget(stream, Closed.BY_US):
            self.outbound.control(frames.reset(stream.id, code))

    def tell_received(self, at_least: int) -> None:
        """Give the connection's window back now, if so many bytes of it are used."""
        used = self.limits.connection_window_bytes - self._window
        if used >= at_least and not self.lost:
            self.outbound.control(frames.window_update(0, used))
            self._window += used

    def ping(self, data: bytes) -> None:
        """Ask whether the peer is there; eight bytes that come back as a `Pong`."""
        self.outbound.control(frames.frame(frames.PING, 0, 0, data))

    def announce_end(self) -> None:
        """Ask the peer to open no more streams; those it opens meanwhile are served."""
        if not self.lost:
            self.outbound.control(frames.goaway(frames.STREAM_ID_LARGEST, ErrorCode.NO_ERROR))

    def serve_no_more(self) -> None:
        """No stream after those that are here."""
        if not self.lost and self._serves_to > self.last_id:
            self._serves_to = self.last_id
            self.ending = True
            self.outbound.control(frames.goaway(self.last_id, ErrorCode.NO_ERROR))

    @property
    def over(self) -> bool:
        """Whether nothing more will happen here, once what `take` gives is sent."""
        return self.ending and not self.streams

    def fail(self, code: ErrorCode, why: str, bound: str | None = None) -> None:
        """End the connection and every stream on it. A second time is harmless."""
        if self.lost:
            return
        self.lost = self.ending = True
        self._rest = b""
        self.outbound.control(frames.goaway(self.last_id, code, why.encode()))
        for stream in [*self.streams.values()]:
            self._forget(stream, Closed.BY_US)
            self.events.append(Reset(stream))
        self.events.append(Lost(code, why, bound))

    def take(self, now: float) -> bytes:
        """Bytes for the peer; ask again until there are none."""
        outbound = self.outbound
        taken = outbound.take(now)
        if outbound.drained:
            for stream in outbound.drained:
                if stream.ended_by_us:
                    self._ended(stream)
                else:
                    self.events.append(Drained(stream))
            outbound.drained.clear()
        if outbound.crumbled:
            outbound.crumbled = False
            self.fail(ErrorCode.ENHANCE_YOUR_CALM, "windows too small to go on", "crumbs_burst")
        return taken

    # Both.

    def _greet(self) -> None:
        limits = self.limits
        ours = {
            frames.MAX_CONCURRENT_STREAMS: limits.streams_max,
            frames.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            frames.MAX_HEADER_LIST_SIZE: limits.header_list_bytes_max,
        }
        self.outbound.control(frames.settings(ours))
        more = limits.connection_window_bytes - frames.WINDOW_DEFAULT
        if more > 0:
            self.outbound.control(frames.window_update(0, more))
        else:
            self._window = frames.WINDOW_DEFAULT

    def _credit(self, stream: Http2Stream) -> None:
        """Let the peer send what we have room for: half the window and more, or it is not worth a frame."""
        room = self.limits.stream_window_bytes - stream.unread - stream.receive_window
        stream.receive_window += room
        self.outbound.control(frames.window_update(stream.id, room))

    def _ended(self, stream: Http2Stream) -> None:
        """We have said all on this stream."""
        if stream.ended_by_peer:
            self._forget(stream, _BY_BOTH)
        else:  # and want to hear no more (section 8.1)
            self.abort(stream, ErrorCode.NO_ERROR)

    def _mistake(self, stream: Http2Stream, code: ErrorCode, *, told: bool = True) -> None:
        """A stream that ends because of what the peer did on it."""
        self._bounds.reset()
        self.abort(stream, code)
        if told:
            self.events.append(Reset(stream))

    def _mistaken(self, stream: Http2Stream | None, code: ErrorCode, why: str) -> None:
        if stream is None:
            raise Fatal(code, why)
        self._mistake(stream, code)

    def _forget(self, stream: Http2Stream, how: Closed) -> bool:
        """Whether it was there to be forgotten."""
        if self.streams.pop(stream.id, None) is None:
            return False
        self._inbound.drop(stream)
        self.outbound.drop(stream)
        self._closed.remember(stream.id, how)
        return True

    def _is_idle(self, stream_id: int) -> bool:
        """Whether a stream was never opened; only clients open them."""
        return stream_id > self.last_id or not stream_id & 1

    def _control(self, frame: bytes) -> None:
        """An answer that the peer asked for, again and again perhaps without taking any."""
        self.outbound.control(frame)
        if self.outbound.control_bytes > self.limits.control_bytes_max:
            raise Fatal(ErrorCode.ENHANCE_YOUR_CALM, "answers that are not taken", "control_bytes_max")


# By the types' numbers; DATA is handled where it is met.
_HANDLERS = (
    Connection._on_push,
    Connection._on_headers,
    Connection._on_priority,
    Connection._on_reset,
    Connection._on_settings,
    Connection._on_push,
    Connection._on_ping,
    Connection._on_goaway,
    Connection._on_window_update,
    Connection._on_continuation,
)
