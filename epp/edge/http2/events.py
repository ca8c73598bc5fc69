"""What happens on a connection, for whoever serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.stream import Http2Stream
from epp.edge.status import Code


@final
@dataclass(slots=True)
class Opened:
    """A request begins; what it asks for is in `stream.head`."""

    stream: Http2Stream


@final
@dataclass(slots=True)
class Message:
    """A whole gRPC message, decompressed. Say `Connection.read` when it was read."""

    stream: Http2Stream
    data: bytes


@final
@dataclass(slots=True)
class Ended:
    """The peer sends nothing more on this stream."""

    stream: Http2Stream


@final
@dataclass(slots=True)
class Reset:
    """The stream is gone: nothing can be said on it."""

    stream: Http2Stream


@final
@dataclass(slots=True)
class Broken:
    """What the peer says on this stream is no gRPC that we take: finish it with this status."""

    stream: Http2Stream
    code: Code
    text: str


@final
@dataclass(slots=True)
class Drained:
    """All that was said on this stream has been put on its way, after some of it had to wait."""

    stream: Http2Stream


@final
@dataclass(slots=True)
class Pong:
    """The peer answers our ping."""

    data: bytes


@final
@dataclass(slots=True)
class Lost:
    """The connection is over, by our GOAWAY; `bound` names the limit that the peer went beyond, if that is why."""

    code: ErrorCode
    why: str
    bound: str | None


Event = Opened | Message | Ended | Reset | Broken | Drained | Pong | Lost
