"""What we send on one connection: frames that go at once, and messages that wait for windows or for the socket.

Must stay true: of a stream, everything goes in order and the end last; no DATA goes beyond either window or a frame
beyond the peer's largest; streams that wait take turns, and one that cannot go on is not looked at until it can.
"""

from __future__ import annotations

from collections import deque

from epp.edge.http2 import answers
from epp.edge.http2.budget import Budget
from epp.edge.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_DEFAULT,
    FRAME_HEADER,
    HEADERS,
    MESSAGE_HEADER,
    WINDOW_DEFAULT,
    WINDOW_LARGEST,
)
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.stream import Http2Stream

TURN_BYTES = 262_144  # of waiting messages for one write to the socket: more, once that was taken
_GRPC_SIZE = len(answers.GRPC)
_message_header = MESSAGE_HEADER.pack


class Outbound:
    """Frames for the socket, in `take`. While `held`, the socket takes nothing and only control frames come together.

    `frames` go as they are, and `ready` are the streams with messages that wait, in turn.
    `drained` are the streams whose waiting messages have all gone since one looked.
    """

    def __init__(self, limits: Http2Limits, crumbs: Budget) -> None:
        self.held = False
        self.window = WINDOW_DEFAULT
        self.first_window = WINDOW_DEFAULT
        self.frame_bytes_max = FRAME_BYTES_DEFAULT
        self.data_frames = 0
        self.unsent = 0
        self.crumbled = False
        self.drained: list[Http2Stream] = []
        self.control_bytes = 0
        self._crumbs = crumbs
        self._crumb_bytes = limits.crumb_bytes
        self.frames: list[bytes | memoryview] = []
        self.ready: deque[Http2Stream] = deque()
        self._first = True

    def control(self, frame: bytes) -> None:
        """A frame that no window holds back."""
        self.control_bytes += len(frame)
        self.frames.append(frame)

    def message(self, stream: Http2Stream, message: bytes) -> None:
        """A gRPC message, with the response's headers before the first."""
        if not stream.headed:
            self._head(stream)
        length = len(message)
        size = length + 5
        if (
            stream.queue is None
            and size <= stream.send_window
            and size <= self.window
            and size <= self.frame_bytes_max
            and not self.held
        ):
            stream.send_window -= size
            self.window -= size
            self.data_frames += 1
            frames = self.frames
            frames.append(_message_header(size >> 8, size & 0xFF, DATA, 0, stream.id, 0, length))
            frames.append(message)
            return
        queue = self._queue(stream)
        queue.append(b"\0" + length.to_bytes(4, "big"))
        if length:
            queue.append(message)
        stream.unsent += size
        self.unsent += size

    def end(self, stream: Http2Stream, block: bytes) -> bool:
        """The trailers after what is left to be sent, or an end without any (b""); whether that went at once."""
        if stream.queue is not None:
            stream.ending = block
            return False
        if not block:
            self.frames.append(FRAME_HEADER.pack(0, 0, DATA, END_STREAM, stream.id))
            stream.ended_by_us = True
            return True
        if not stream.headed:  # trailers only
            stream.headed = True
            block = answers.GRPC + block
        self._headers(stream, block, END_HEADERS | END_STREAM)
        stream.ended_by_us = True
        return True

    def answer(self, stream: Http2Stream, block: bytes, body: bytes) -> bool:
        """An answer that is no gRPC; whether all of it went at once."""
        stream.headed = True
        if not body:
            stream.ended_by_us = True
            self._headers(stream, block, END_HEADERS | END_STREAM)
            return True
        self._headers(stream, block, END_HEADERS)
        self._queue(stream).append(body)
        stream.unsent += len(body)
        self.unsent += len(body)
        stream.ending = b""
        return False

    def widen(self, increment: int) -> bool:
        """The connection's window; false where it grows too large."""
        self.window += increment
        return self.window <= WINDOW_LARGEST

    def widen_stream(self, stream: Http2Stream, increment: int) -> bool:
        """A stream's window, by less than nothing where the peer's settings say so; false where it grows too large."""
        before = stream.send_window
        stream.send_window = before + increment
        if before <= 0 < stream.send_window and stream.queue is not None:
            self._stand(stream)
        return stream.send_window <= WINDOW_LARGEST

    def drop(self, stream: Http2Stream) -> None:
        """Nothing more of this stream."""
        self.unsent -= stream.unsent
        stream.unsent = 0
        stream.queue = stream.ending = None

    def take(self, now: float) -> bytes:
        """What goes to the socket now; ask again until it is nothing."""
        if self.ready and not self.held:
            self._let_go(now)
        frames = self.frames
        if not frames:
            return b""
        self.control_bytes = 0
        taken = b"".join(frames)
        frames.clear()
        return taken

    def _head(self, stream: Http2Stream) -> None:
        stream.headed = True
        if self._first:
            self._headers(stream, answers.GRPC, END_HEADERS)
            return
        self.frames.append(FRAME_HEADER.pack(0, _GRPC_SIZE, HEADERS, END_HEADERS, stream.id) + answers.GRPC)

    def _headers(self, stream: Http2Stream, block: bytes, flags: int) -> None:
        """One HEADERS frame: our blocks are far smaller than the smallest frame."""
        if self._first:
            self._first = False
            block = answers.NO_TABLE + block
        size = len(block)
        self.frames.append(FRAME_HEADER.pack(size >> 8, size & 0xFF, HEADERS, flags, stream.id) + block)

    def _queue(self, stream: Http2Stream) -> deque[bytes | memoryview]:
        if stream.queue is None:
            stream.queue = deque()
            if stream.send_window > 0:
                self._stand(stream)
        return stream.queue

    def _stand(self, stream: Http2Stream) -> None:
        if not stream.in_turn:
            stream.in_turn = True
            self.ready.append(stream)

    def _let_go(self, now: float) -> None:
        """Waiting messages, a frame a stream in turn."""
        ready, left = self.ready, TURN_BYTES
        while ready and left > 0 and self.window > 0:
            stream = ready.popleft()
            stream.in_turn = False
            if stream.queue is None or stream.send_window <= 0:
                continue  # gone, or its window was taken back
            left -= self._one_frame(stream, now)
            if stream.queue:
                if stream.send_window > 0:
                    self._stand(stream)
                continue
            stream.queue = None
            self.drained.append(stream)
            if stream.ending is not None:
                block, stream.ending = stream.ending, None
                self.end(stream, block)

    def _one_frame(self, stream: Http2Stream, now: float) -> int:
        """As much as one frame may hold; how much that was."""
        queue = stream.queue
        assert queue is not None
        room = min(stream.send_window, self.window, self.frame_bytes_max)
        size = min(room, stream.unsent)
        if size < self._crumb_bytes and size < stream.unsent and not self._crumbs.spend(now):
            self.crumbled = True
        self.data_frames += 1
        self.frames.append(FRAME_HEADER.pack(size >> 8, size & 0xFF, DATA, 0, stream.id))
        left = size
        while left:
            piece = queue.popleft()
            if len(piece) > left:
                view = memoryview(piece)
                queue.appendleft(view[left:])
                piece = view[:left]
            self.frames.append(piece)
            left -= len(piece)
        stream.send_window -= size
        stream.unsent -= size
        self.window -= size
        self.unsent -= size
        return size
