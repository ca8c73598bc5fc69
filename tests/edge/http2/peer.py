"""The other end of a `Connection`, in memory: raw frames, or the `h2` library as a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpack import Decoder, Encoder

from epp.edge.http2 import frames
from epp.edge.http2.connection import Connection
from epp.edge.http2.events import Event, Lost, Opened
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.stream import Http2Stream

PATH = "/a.Service/Method"
HEADERS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": PATH,
    ":authority": "us",
    "te": "trailers",
    "content-type": "application/grpc",
}


def message(data: bytes, compressed: bool = False) -> bytes:
    """As gRPC frames it."""
    return bytes((compressed,)) + len(data).to_bytes(4, "big") + data


class Frame:
    """One frame of what a connection said."""

    def __init__(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self.kind, self.flags, self.stream_id, self.payload = kind, flags, stream_id, payload

    @property
    def code(self) -> ErrorCode:
        """Of RST_STREAM and GOAWAY."""
        at = 4 if self.kind == frames.GOAWAY else 0
        return ErrorCode(int.from_bytes(self.payload[at : at + 4], "big"))

    def __repr__(self) -> str:
        return f"Frame({self.kind}, {self.flags}, {self.stream_id}, {self.payload[:20]!r})"


def parse(data: bytes) -> list[Frame]:
    """Frames out of bytes, of which there must be no rest."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        assert len(data) >= 9 + size
        stream_id = int.from_bytes(data[5:9], "big")
        found.append(Frame(data[3], data[4], stream_id, data[9 : 9 + size]))
        data = data[9 + size :]
    return found


class RawPeer:
    """Says exactly what it is told to, and keeps what it hears."""

    def __init__(self, settings: Mapping[int, int] | None = None, greet: bool = True, **limits: Any) -> None:
        self.now = 0.0
        self.connection = Connection(Http2Limits(**limits), self.now)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.events: list[Event] = []
        self.heard: list[Frame] = []
        if greet:
            self.say(frames.PREFACE + frames.settings(dict(settings or {})))

    def say(self, data: bytes) -> list[Event]:
        """The events that follow."""
        self.connection.receive(data, self.now)
        return self.listen()

    def listen(self) -> list[Event]:
        """Take what the connection has to say, and the events."""
        while data := self.connection.take(self.now):
            self.heard += parse(data)
        events, self.connection.events = self.connection.events, []
        self.events += events
        return events

    def headers(self, stream_id: int, end: bool = False, **changed: str) -> bytes:
        """A request's HEADERS; names in `changed` have `_` for `-`."""
        named = {**HEADERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
        return self.block(stream_id, self.encoder.encode(list(named.items())), end)

    def block(self, stream_id: int, block: bytes, end: bool = False) -> bytes:
        """HEADERS with these bytes."""
        return frames.frame(frames.HEADERS, frames.END_HEADERS | end, stream_id, block)

    def data(self, stream_id: int, data: bytes, end: bool = False) -> bytes:
        """DATA."""
        return frames.frame(frames.DATA, int(end), stream_id, data)

    def open(self, stream_id: int = 1, end: bool = False) -> Http2Stream:
        """A request; its stream."""
        (opened,) = [event for event in self.say(self.headers(stream_id, end)) if isinstance(event, Opened)]
        return opened.stream

    def frames(self, kind: int, stream_id: int | None = None) -> list[Frame]:
        """What was heard of this kind."""
        return [f for f in self.heard if f.kind == kind and stream_id in (None, f.stream_id)]

    def trailers(self, stream_id: int) -> dict[str, str]:
        """The last headers that were heard on a stream. All were decoded in order."""
        found = {}
        decoder = Decoder()
        for frame in self.frames(frames.HEADERS):
            said = dict(decoder.decode(frame.payload))
            if frame.stream_id == stream_id:
                found = said
        return found

    @property
    def lost(self) -> Lost | None:
        """How the connection ended."""
        return next((event for event in self.events if isinstance(event, Lost)), None)
