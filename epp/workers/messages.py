"""What workers and the process that decides say to each other, and how it is put on a socket.

Each message is a MessagePack array behind its length, four bytes. A call is one decision of one stream; its number is
the worker's. Seconds `at` some moment are monotonic, which on one machine is one clock for all processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct as Packed

import msgspec

from epp.domain import Fault, Usage
from epp.protocol.exchange import Route
from epp.protocol.messages import Decide, Immediate

_LENGTH = Packed("!I")


class Message(msgspec.Struct, array_like=True, tag=True, gc=False):
    """One of those below."""


class Asked(Message, tag=1):
    """Decide. `began` is when the stream did; `before` is the call whose choice, by the headers alone, this replaces.

    `extends` tells whether the gateway may be asked for more time.
    """

    call: int
    port: int
    began: float
    ask: Decide
    before: int | None
    extends: bool


class Gone(Message, tag=2):
    """Nobody waits for this decision any more."""

    call: int


class RefusedHere(Message, tag=3):
    """The worker refused a request by itself, under a receipt of that id: a body too large, one that stood still."""

    port: int
    began: float
    receipt: str
    ask: Decide
    reason: str
    message: str


class Headed(Message, tag=4):
    """The answer's headers are here."""

    call: int
    served: str | None


class Prefilled(Message, tag=5):
    """The prompt is computed; with `first_answer_s` the first piece of the answer is here, too."""

    call: int
    first_answer_s: float | None
    status: int | None
    stream: bool


class Ended(Message, tag=6):
    """The stream is over, or its choice is replaced. `gaps` counts the times between pieces, as a histogram does."""

    call: int
    outcome: str
    ended_s: float
    first_answer_s: float | None
    status: int | None
    fault: Fault | None
    stream: bool
    usage: Usage | None
    answer_bytes: int | None
    gaps: tuple[list[int], float] | None


class Counted(Message, tag=7):
    """What happened since the last time. `open` are streams by port, `carrying` the connections that had one lately,
    as of now; the next three are totals."""

    open: list[int]
    carrying: int
    turned_away: list[int]
    connected: int
    disconnected: int
    gathered: list[float]
    responded: list[float]
    ended: list[tuple[str, float]]
    breaches: list[str]
    surprises: list[str]


class Left(Message, tag=8):
    """No stream is open on that port any more, or they were cut off."""

    port: int


class Serving(Message, tag=9):
    """The worker can take connections."""


class Pong(Message, tag=10):
    """The answer to `Ping`."""


class Way(Message, tag=20):
    """Where the request goes. `leased` is false where a second stream takes the lease; `running` may be cut off."""

    call: int
    receipt: str
    at: float
    model: str | None
    asked_model: str | None
    stream: bool
    decided_s: float | None
    address: str
    leased: bool
    blind: bool
    running: bool
    route: Route


class Answer(Message, tag=21):
    """An answer of our own."""

    call: int
    receipt: str
    at: float
    immediate: Immediate


class Wait(Message, tag=22):
    """The decision may take so many seconds: ask the gateway for them."""

    call: int
    seconds: float


class Failed(Message, tag=23):
    """There will be no decision: a defect."""

    call: int


class Evict(Message, tag=24):
    """Others need the place."""

    call: int


class Ready(Message, tag=25):
    """What health is to say."""

    ready: bool


class Leave(Message, tag=26):
    """Take no new streams on that port; open ones have `grace` seconds, or none."""

    port: int
    grace: float | None


class Certified(Message, tag=27):
    """New connections use this pair, both PEM; `expires` is a POSIX time."""

    chain: bytes
    key: bytes
    expires: float


class Shed(Message, tag=29):
    """Ask one of the gateways' connections to make way: another worker has too few."""


class Ping(Message, tag=30):
    """Say that you are there."""


class Bye(Message, tag=28):
    """The end, within so many seconds."""

    grace: float


Up = Asked | Gone | RefusedHere | Headed | Prefilled | Ended | Counted | Left | Serving | Pong
Down = Way | Answer | Wait | Failed | Evict | Ready | Leave | Certified | Shed | Bye | Ping

_encode = msgspec.msgpack.Encoder().encode


def packed(message: Up | Down) -> bytes:
    """A message with its length."""
    return framed(_encode(message))


def framed(data: bytes) -> bytes:
    """Behind its length."""
    return _LENGTH.pack(len(data)) + data


def length_of(head: bytes) -> int:
    """What `framed` put before the data."""
    found: int = _LENGTH.unpack(head)[0]
    return found


class Unpacking:
    """Bytes in, whole messages out, however they are cut."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """The messages that are whole now; each is to be read before the next is asked for."""
        rest = self._rest
        if rest:
            rest += data
        start = 0
        with memoryview(rest or data) as whole:
            size = len(whole)
            while size - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(whole, start)
                end = start + _LENGTH.size + length
                if end > size:
                    break
                with whole[start + _LENGTH.size : end] as message:
                    yield message
                start = end
        if rest:
            del rest[:start]
        elif start < len(data):
            rest += data[start:]
