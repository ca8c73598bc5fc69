"""One HTTP request as Envoy shows it: a state machine without I/O, events in, actions out.

    request:   HEADERS -> GATHER -> DECIDING -> ANSWERED -> (CLOSED after an answer of our own)
                  \\________________/ headers only, or nothing more to see before the answer is due
    response:  replies at once, piece by piece; nothing is held back

Must stay true, per side: headers are answered before body, body before trailers; in full duplex every byte is
answered as a `Chunk`, `end` once and last; a body message that comes after the end (envoy#46237 delivers the last
piece twice) is ignored; in the other modes each body message gets exactly one reply. `Decide` is returned when the
request is whole; the caller then calls `routed` or `answer`, and feeds nothing in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from epp.domain import Reason, Refused
from epp.protocol.messages import (
    NO_EDITS,
    Action,
    BadMessage,
    Body,
    BodyMode,
    BodyReply,
    Chunk,
    Decide,
    Edits,
    Event,
    Headers,
    HeadersReply,
    Immediate,
    Metadata,
    Modes,
    Reply,
    Side,
    Trailers,
    TrailersReply,
)

CHUNK_BYTES_MAX = 62_000  # some Envoys refuse streamed pieces of 64 KiB and more (Endpoint Picker Protocol practice)
LENGTH_DIGITS_MAX = 19  # what is longer is too large anyway, and Python reads no number of thousands of digits
HELD_BYTES_MAX = 512 * 1024  # below Envoy's default buffer limit of 1 MiB, above which a STREAMED body would stall


class State(Enum):
    """How far the request side is."""

    HEADERS = auto()
    GATHER = auto()
    DECIDING = auto()
    ANSWERED = auto()
    CLOSED = auto()


# By names of this module: until Python 3.12 a member is looked up on its class by a call, dozens for each request.
_REQUEST, _RESPONSE = Side.REQUEST, Side.RESPONSE
_NONE, _STREAMED, _BUFFERED = BodyMode.NONE, BodyMode.STREAMED, BodyMode.BUFFERED
_PARTIAL, _DUPLEX = BodyMode.BUFFERED_PARTIAL, BodyMode.FULL_DUPLEX_STREAMED
_HEADERS, _GATHER, _DECIDING = State.HEADERS, State.GATHER, State.DECIDING
_ANSWERED, _CLOSED = State.ANSWERED, State.CLOSED


@dataclass(slots=True)
class Route:
    """Where a request goes: an endpoint, header changes, and the new body if it differs from the client's.

    `destination` is one address, several with commas where a list is asked for, None where a second filter decides.
    """

    destination: str | None
    set_headers: Sequence[tuple[str, str]] = ()
    remove_headers: Sequence[str] = ()
    body: bytes | None = None
    model_changed: bool = False
    response_headers: Sequence[tuple[str, str]] = ()
    scores: Mapping[str, float] | None = None
    metadata: Metadata | None = None


@dataclass(slots=True)
class Buffers:
    """How many bytes of request bodies may be held: of one request, and of all together."""

    request_bytes_max: int
    total_bytes_max: int
    held: int = 0


class Exchange:
    """Feed it events with `receive`; do what the actions say; tell it the outcome of `Decide`; `close` it at the end.

    What it holds of a request body is counted in `buffers`, which all exchanges share, until the body is answered.
    `echoes` tells that a piece of a response, were it the next event and not the last, would go on as it is.
    With `first_of_two`, a second filter asks about the same request after us: the response is left to it. (Two filters
    in one chain that both read responses truncate them on Envoy 1.36 to 1.38, envoy#41654.)
    """

    def __init__(self, buffers: Buffers, *, first_of_two: bool = False) -> None:
        self._first_of_two = first_of_two
        self.state = _HEADERS
        self.status: int | None = None
        self.echoes = False
        self._modes = Modes()
        self._headers: Mapping[str, str] = {}
        self._subset: frozenset[str] | None = None
        self._attributes: Mapping[str, str] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._buffers = buffers
        self._held = 0
        self._trailers_due = False
        self._headers_answered = False
        self._request_ended = False
        self._response_begun = False
        self._response_ended = False
        self._route: Route | None = None
        self._first = True
        self._override: Modes | None = None
        self._length_may_change = False

    @property
    def shows_response_body(self) -> bool:
        """Whether this stream is sent response bodies."""
        return self._modes.response is not _NONE

    @property
    def answered(self) -> bool:
        """Whether the whole answer has passed, or its headers where that is all we are shown."""
        return self._response_ended or (self.status is not None and not self.shows_response_body)

    @property
    def awaits_piece(self) -> bool:
        """Whether the next piece of a request body is due from the client; BUFFERED bodies Envoy gathers itself."""
        return self.state is _GATHER and self._modes.request in (
            _DUPLEX,
            _STREAMED,
        )

    @property
    def may_change_response(self) -> bool:
        """Whether response bytes go on as we send them: in full duplex, where also no length was promised."""
        return self._modes.response is _DUPLEX

    def response_length_may_change(self) -> None:
        """The response's bytes will be edited: take its promised length away. To be called before its headers."""
        self._length_may_change = True

    def show_response_body(self) -> bool:
        """Ask for this response's body in pieces, where none is shown (`mode_override`; full duplex ignores it).

        To be called before the response headers; whether the question can be asked at all.
        """
        modes = self._modes
        if modes.response is not _NONE or modes.request is _DUPLEX:
            return False
        self._override = Modes(modes.request, _STREAMED)
        self._modes = replace(modes, response=_STREAMED)
        return True

    def receive(self, event: Event) -> Sequence[Action]:
        """The actions that follow from one message.

        Raises `Refused` when the request must not go on, `BadMessage` for a message out of order.
        """
        if event.side is _RESPONSE:
            return self.respond(event)
        if self._first:
            self._begin(event)
        if self.state is _CLOSED:
            return []
        assert self.state is not _DECIDING, "an event while a decision is due"
        if isinstance(event, Headers) is not (self.state is _HEADERS):
            raise BadMessage("request headers come first, and once")
        match event:
            case Headers():
                return self._request_headers(event)
            case Body():
                return self._request_body(event)
            case Trailers():
                return self._request_trailers()

    def respond(self, event: Event) -> list[Reply]:
        """`receive` for a message of the response: its replies go at once. Raises `BadMessage`."""
        self.echoes = False
        if self._first:
            self._begin(event)
        if self.state is _CLOSED:
            return []
        if type(event) is not Body:
            return [self._response_headers(event) if type(event) is Headers else self._response_trailers()]
        if self._response_ended:
            return []
        self._response_ended = event.end
        if self._modes.response is not _DUPLEX:
            return [BodyReply(_RESPONSE)]
        if 0 < len(event.data) <= CHUNK_BYTES_MAX:  # as nearly all are
            self.echoes = not event.end
            return [Chunk(_RESPONSE, event.data, event.end)]
        return [*chunks(_RESPONSE, event.data, event.end)] if event.data or event.end else []

    def routed(self, route: Route) -> list[Reply]:
        """The decision: go there."""
        assert self.state is _DECIDING
        self._route = route
        body = route.body
        set_headers = route.set_headers
        if body is not None:
            set_headers = [*set_headers, ("content-length", str(len(body)))]
        edits = Edits(
            set_headers,
            route.remove_headers,
            route.destination,
            route.model_changed,
            route.scores,
            route.metadata,
        )
        replies: list[Reply] = []
        if not self._headers_answered:
            self._headers_answered = True
            replies.append(HeadersReply(_REQUEST, edits, self._asks_for_body(), self._first_of_two))
            replies += self._gathered(body)
        elif self._pieces:
            replies.append(BodyReply(_REQUEST, body, edits))
        if self._trailers_due:
            replies.append(TrailersReply(_REQUEST))
        self._let_go()
        self.state = _ANSWERED
        return replies

    def answer(self, immediate: Immediate) -> list[Reply]:
        """The decision: an answer of our own, a refusal or a list of models."""
        self.close()
        return [immediate]

    def close(self) -> None:
        """Nothing more follows on this stream. Closing twice is harmless."""
        self.state = _CLOSED
        self.echoes = False
        self._let_go()

    def _asks_for_body(self) -> Modes | None:
        """STREAMED shows no body before the headers are answered: ask for BUFFERED (granted if overrides are)."""
        if self._first_of_two and self._request_ended:
            return Modes(self._modes.request, _NONE)
        if self._modes.request is not _STREAMED or self._pieces or self._request_ended:
            return None
        return Modes(_BUFFERED, self._modes.response)

    def _request_headers(self, event: Headers) -> list[Action]:
        self._headers = event.headers
        self._subset = event.subset
        self._attributes = event.attributes
        self._request_ended = event.end
        self._check_size(_content_length(event.headers))
        mode = self._modes.request
        if event.end or mode is _NONE or (mode is _STREAMED and not self._modes.eager):
            return self._decide(b"" if event.end else None)
        self.state = _GATHER
        if mode is _DUPLEX or mode is _STREAMED:
            return []
        self._headers_answered = True
        if self._first_of_two:
            return [HeadersReply(_REQUEST, override=Modes(mode, _NONE), skip_response=True)]
        return [HeadersReply(_REQUEST)]

    def _request_body(self, event: Body) -> list[Action]:
        if event.subset is not None:
            self._subset = event.subset
        if self._request_ended:
            return []
        mode = self._modes.request
        self._request_ended = event.end
        if self.state is _ANSWERED:
            return self._after_answer(event)
        self._size += len(event.data)
        self._check_size(self._size)
        self._hold(event.data)
        if event.end or mode is _BUFFERED:
            self._request_ended = True
            return self._decide(b"".join(self._pieces))
        if mode is _PARTIAL or (mode is _STREAMED and self._size > HELD_BYTES_MAX):
            return self._decide(None)
        return []

    def _after_answer(self, event: Body) -> list[Action]:
        """The route was chosen by headers alone; a body that follows may still refine it if it came whole."""
        if event.end and not self._size and self._modes.request is _STREAMED and not self._modes.eager:
            self._check_size(len(event.data))
            self._hold(event.data)
            return self._decide(event.data)
        self._size += len(event.data)
        self._check_size(self._size)
        return [BodyReply(_REQUEST)]

    def _request_trailers(self) -> list[Action]:
        if self.state is _ANSWERED:
            return [TrailersReply(_REQUEST)]
        if self._headers_answered and not self._pieces:
            # Only headers and bodies can be given a destination, and the headers have gone on without one.
            raise Refused(Reason.BAD_REQUEST, "a request body was announced and did not come")
        self._trailers_due = True
        self._request_ended = True
        self._join()
        return self._decide(b"".join(self._pieces))

    def _decide(self, body: bytes | None) -> list[Action]:
        self.state = _DECIDING
        timed = self._modes.request is not _DUPLEX
        return [Decide(self._headers, body, self._subset, self._attributes, self.shows_response_body, timed)]

    def _gathered(self, body: bytes | None) -> Iterator[Reply]:
        """The replies due for the pieces held so far; STREAMED: a new body goes with the first, the rest is emptied."""
        if not self._pieces:
            return
        if self._modes.request is _DUPLEX:
            yield from chunks(_REQUEST, b"".join(self._pieces) if body is None else body, not self._trailers_due)
            return
        for position, _ in enumerate(self._pieces):
            yield BodyReply(_REQUEST, None if body is None else body if position == 0 else b"")

    def _hold(self, data: bytes) -> None:
        buffers = self._buffers
        if buffers.held + len(data) > buffers.total_bytes_max:
            raise Refused(Reason.BUFFERS_FULL, "too many large request bodies are on their way at once; try again")
        buffers.held += len(data)
        self._held += len(data)
        self._pieces.append(data)
        if self._request_ended:
            self._join()

    def _join(self) -> None:
        """A body that is whole is one piece from now on: while it waits, no byte is held twice.

        Where each piece has its reply, they stay.
        """
        if len(self._pieces) > 1 and self._modes.request is BodyMode.FULL_DUPLEX_STREAMED:
            self._pieces = [b"".join(self._pieces)]

    def _let_go(self) -> None:
        self._pieces = []
        self._buffers.held -= self._held
        self._held = 0

    def _check_size(self, size: int) -> None:
        largest = self._buffers.request_bytes_max
        if size > largest:
            raise Refused(Reason.BODY_TOO_LARGE, f"the request body is larger than {largest} bytes")

    def _response_trailers(self) -> Reply:
        self._response_ended = True
        return TrailersReply(_RESPONSE)

    def _response_headers(self, event: Headers) -> Reply:
        if self._response_begun:
            raise BadMessage("response headers come once, and first")
        self._response_begun = True
        self.status = _status(event.headers)
        self._response_ended = event.end
        extra = self._route.response_headers if self._route else ()
        remove = ("content-length",) if self._length_may_change else ()
        edits = Edits(extra, remove) if extra or remove else NO_EDITS
        return HeadersReply(_RESPONSE, edits, self._override)

    def _begin(self, event: Event) -> None:
        """The first message says what dialect this is."""
        self._first = False
        self._modes = event.modes or Modes()


def chunks(side: Side, data: bytes, end: bool) -> Iterator[Chunk]:
    """`data` in pieces of at most CHUNK_BYTES_MAX, `end` on the last; empty data is one empty piece."""
    for start in range(0, len(data) or 1, CHUNK_BYTES_MAX):
        stop = start + CHUNK_BYTES_MAX
        yield Chunk(side, data[start:stop], end and stop >= len(data))


def _content_length(headers: Mapping[str, str]) -> int:
    value = headers.get("content-length", "")
    return int(value[:LENGTH_DIGITS_MAX]) if value.isascii() and value.isdigit() else 0


def _status(headers: Mapping[str, str]) -> int | None:
    value = headers.get(":status", "")
    return int(value) if len(value) == 3 and value.isascii() and value.isdigit() else None
