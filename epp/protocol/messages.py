"""What Envoy tells us about one HTTP request, and what we may answer: the exchange's events and actions.

Plain values; `codec.py` turns them into protobuf bytes and back. Header names are lower case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum


class BadMessage(Exception):
    """What the peer sent is no ext_proc message, or has no place here; the stream ends, no other is hurt."""


class BodyMode(IntEnum):
    """How Envoy hands over a body (`ProcessingMode.BodySendMode`)."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4


class Side(IntEnum):
    """The direction a message belongs to."""

    REQUEST = 0
    RESPONSE = 1


@dataclass(slots=True, frozen=True)
class Modes:
    """The dialect of a stream, from the first message's `protocol_config`.

    `eager` is `send_body_without_waiting_for_header_response`. A client that sends no configuration speaks the
    Endpoint Picker Protocol's dialect: full duplex both ways.
    """

    request: BodyMode = BodyMode.FULL_DUPLEX_STREAMED
    response: BodyMode = BodyMode.FULL_DUPLEX_STREAMED
    eager: bool = False


@dataclass(slots=True)
class Headers:
    """Headers of one side; `end` when no body follows. `subset` and `served` come from the message's metadata.

    `attributes` are those the gateway was told to send (`request_attributes`), the texts among them, by name.
    """

    side: Side
    headers: Mapping[str, str]
    end: bool = False
    modes: Modes | None = None
    subset: frozenset[str] | None = None
    served: str | None = None
    attributes: Mapping[str, str] | None = None


@dataclass(slots=True)
class Body:
    """A piece of a body; `end` when nothing follows on this side."""

    side: Side
    data: bytes
    end: bool
    subset: frozenset[str] | None = None
    modes: Modes | None = None


@dataclass(slots=True)
class Trailers:
    """Trailers: they end a side whose last body piece did not."""

    side: Side
    modes: Modes | None = None


Event = Headers | Body | Trailers


@dataclass(slots=True)
class Decide:
    """The request is as whole as it will get: choose. `body` is None where the mode shows us no body.

    `sees_answer` tells whether we will be shown the answer's body, and with it when the first token comes; `timed`
    whether the gateway waits for our answer only as long as its `message_timeout`.
    """

    headers: Mapping[str, str]
    body: bytes | None
    subset: frozenset[str] | None
    attributes: Mapping[str, str] | None = None
    sees_answer: bool = False
    timed: bool = False


@dataclass(slots=True, frozen=True)
class Edits:
    """What a reply changes: headers to set and remove, the destination for header and metadata, the route cache.

    `scores`, by address, go into the metadata beside the destination.
    """

    set: Sequence[tuple[str, str]] = ()
    remove: Sequence[str] = ()
    destination: str | None = None
    clear_route_cache: bool = False
    scores: Mapping[str, float] | None = None


NO_EDITS = Edits()


@dataclass(slots=True)
class HeadersReply:
    """Answers headers. `override` asks Envoy for other body modes from here on (`mode_override`).

    `skip_response` asks it in the same way to keep the whole response to itself.
    """

    side: Side
    edits: Edits = NO_EDITS
    override: Modes | None = None
    skip_response: bool = False


@dataclass(slots=True)
class BodyReply:
    """Answers a body message where one reply is due for each: unchanged (None) or replaced."""

    side: Side
    body: bytes | None = None
    edits: Edits = NO_EDITS


@dataclass(slots=True)
class Chunk:
    """A piece of the body that goes on (`StreamedBodyResponse`, full duplex only)."""

    side: Side
    data: bytes
    end: bool


@dataclass(slots=True)
class TrailersReply:
    """Answers trailers, unchanged."""

    side: Side


@dataclass(slots=True)
class Immediate:
    """An answer of our own; the request goes no further."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    details: str = ""


@dataclass(slots=True)
class Extend:
    """No answer yet: wait so much longer for it, from now on. Granted once for each message that is to be answered."""

    seconds: float


Reply = HeadersReply | BodyReply | Chunk | TrailersReply | Immediate | Extend
Action = Decide | Reply
