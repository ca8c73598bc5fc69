"""gRPC messages out of DATA: five bytes say how long each is, and nothing says where frames cut it."""

from __future__ import annotations

import zlib
from struct import Struct

from epp.edge.http2.events import Broken, Event, Message
from epp.edge.http2.stream import Http2Stream
from epp.edge.status import Code

PREFIX_BYTES = 5
_PREFIX = Struct(">BL")
_GZIP = 31  # zlib's word for "with gzip's header"


class Inbound:
    """Gathers the messages of a connection's streams. `held` is how many bytes it holds or that wait to be read."""

    def __init__(self, message_bytes_max: int) -> None:
        self._max = message_bytes_max
        self.held = 0

    def gather(self, stream: Http2Stream, data: bytes, at: int, stop: int, events: list[Event]) -> None:
        """These bytes of a stream, and the events of the messages that are whole with them."""
        if stream.parts is not None:
            at = self._go_on(stream, data, at, stop, events)
        while stop - at >= PREFIX_BYTES:
            flag, length = _PREFIX.unpack_from(data, at)
            after = at + PREFIX_BYTES + length
            if length > self._max or flag > 1:
                self._refuse(stream, flag, events)
                return
            if after > stop:
                break
            if flag:
                self._whole(stream, flag, data[at + PREFIX_BYTES : after], events)
            else:  # as nearly all: `_whole` without its call
                stream.unread += after - at
                self.held += after - at
                events.append(Message(stream, data[at + PREFIX_BYTES : after]))
            at = after
        if at < stop:
            stream.parts = [data[at:stop]]
            stream.parts_bytes = stop - at
            self.held += stop - at
            self._learn(stream, events)

    def drop(self, stream: Http2Stream) -> None:
        """Nothing more of this stream."""
        self.held -= stream.unread
        stream.unread = 0
        self._let_go(stream)

    def _go_on(self, stream: Http2Stream, data: bytes, at: int, stop: int, events: list[Event]) -> int:
        """More of a message that is half here; where the next one begins."""
        parts = stream.parts
        assert parts is not None
        wanted = stream.wanted_bytes
        missing = (PREFIX_BYTES if wanted is None else wanted) - stream.parts_bytes
        taken = min(missing, stop - at)
        parts.append(data[at : at + taken])
        stream.parts_bytes += taken
        self.held += taken
        at += taken
        if taken < missing:
            return stop
        if wanted is None:  # so much for its length
            wanted = self._learn(stream, events)
            if wanted < 0:
                return stop
            if wanted:
                return self._go_on(stream, data, at, stop, events) if at < stop else stop
        flag, whole = stream.is_compressed, b"".join(stream.parts or ())
        self._let_go(stream)
        self._whole(stream, flag, whole, events)
        return at

    def _learn(self, stream: Http2Stream, events: list[Event]) -> int:
        """How long the message will be that is half here; -1 if that is not known yet or it is none that we take."""
        parts = stream.parts
        assert parts is not None
        if stream.parts_bytes < PREFIX_BYTES:
            return -1
        begin = b"".join(parts)
        flag, length = _PREFIX.unpack_from(begin)
        if length > self._max or flag > 1:
            self._refuse(stream, flag, events)
            return -1
        stream.parts = [begin[PREFIX_BYTES:]]
        stream.parts_bytes -= PREFIX_BYTES
        self.held -= PREFIX_BYTES
        stream.wanted_bytes, stream.is_compressed = length, flag
        wanted: int = length
        return wanted

    def _let_go(self, stream: Http2Stream) -> None:
        """The half message is whole, or nobody wants the rest."""
        self.held -= stream.parts_bytes
        stream.parts, stream.parts_bytes, stream.wanted_bytes = None, 0, None

    def _whole(self, stream: Http2Stream, flag: int, message: bytes, events: list[Event]) -> None:
        if flag:
            unpacked = self._unpacked(stream, message, events)
            if unpacked is None:
                return
            message = unpacked
        size = len(message) + PREFIX_BYTES
        stream.unread += size
        self.held += size
        events.append(Message(stream, message))

    def _unpacked(self, stream: Http2Stream, message: bytes, events: list[Event]) -> bytes | None:
        if stream.head.encoding != b"gzip":
            events.append(Broken(stream, Code.INTERNAL, "a compressed message without grpc-encoding"))
            return None
        unpacking = zlib.decompressobj(_GZIP)
        try:
            unpacked = unpacking.decompress(message, self._max + 1)
        except zlib.error:
            unpacked = b""
        if len(unpacked) > self._max:
            self._refuse(stream, 0, events)
            return None
        if not unpacking.eof:
            events.append(Broken(stream, Code.INTERNAL, "a message that is not gzip"))
            return None
        return unpacked

    def _refuse(self, stream: Http2Stream, flag: int, events: list[Event]) -> None:
        self.drop(stream)
        if flag > 1:
            events.append(Broken(stream, Code.INTERNAL, "a message that begins with neither 0 nor 1"))
        else:
            events.append(Broken(stream, Code.RESOURCE_EXHAUSTED, f"a message of more than {self._max} bytes"))
