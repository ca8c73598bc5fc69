"""What the command and its load generators tell each other: msgpack in frames of four bytes of length and content.

A generator gets a `Plan`, says `Ready` when all is prepared, gets `Go`, and answers with a `Result`. Times are in
seconds; `at` counts from `Go`.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, TypeVar

import msgspec

LENGTH_BYTES = 4
GO = b"go"
READY = b"ready"

T = TypeVar("T")


class Shot(msgspec.Struct, array_like=True, frozen=True):
    """One request: when, a prompt of so many tokens made of these blocks, and how long an answer it asks for.

    One that follows another (`after`, its place in the list) comes not before that one's answer is whole, nor sooner
    than `gap_s` after it came.
    """

    at: float
    prompt_tokens: int
    answer_tokens: int
    blocks: tuple[int, ...]
    after: int | None = None
    gap_s: float = 0.0
    model: str | None = None
    """In place of the plan's; an adapter."""
    tenant: str | None = None


class Plan(msgspec.Struct, frozen=True):
    """What to ask of whom. With `connections` each of them asks again when it was answered, for `seconds`, with the
    shots in turn and each prompt new; without, every shot is sent at its time, however many are under way."""

    address: tuple[str, int]
    path: str
    host: str
    model: str
    shots: list[Shot]
    seconds: float
    """Closed loop: how long. Open loop: what is not answered by then is given up."""
    block_tokens: int = 1
    part: int = 0
    """Of the run; no part repeats the prompts of another."""
    tls_name: str | None = None
    headers: list[tuple[str, str]] = []
    stream: bool = True
    ignore_eos: bool = False
    connections: int = 0
    warm_s: float = 0.0
    """Closed loop: what is answered before does not count."""
    timeout_s: float = 60.0
    in_flight_max: int = 4096
    pause_ms: float | None = None
    """For the upstream that answers at once: milliseconds between the tokens of a stream."""
    hold: bool = False
    """Keep a request open on each connection until `Go`, for an upstream that never answers."""


class Sample(msgspec.Struct, array_like=True, frozen=True):
    """One request's story. Seconds from the time it was meant to be sent; None where it did not come to that."""

    shot: int
    at: float
    status: str
    """The HTTP status, or why there is no whole answer: one of `OUTCOMES`."""
    late_s: float | None = None
    """From the time it was meant to be sent until it was handed to the kernel."""
    ttft_s: float | None = None
    """Until the first event of a stream."""
    e2e_s: float | None = None
    tokens: int = 0
    """As the server counted them; where it does not, the events of the stream."""
    reads: int = 0
    """Reads that brought events: where it is less than the events, some travelled together."""


NOT_SENT, TIMEOUT, LOST, NO_CONNECTION, BROKEN, CUT = (
    "not sent",
    "timeout",
    "lost",
    "no connection",
    "broken",
    "cut short",
)
OUTCOMES = {
    NOT_SENT: "so many were under way that the generator's own bound was reached, or the slice was over",
    TIMEOUT: "no whole answer in time",
    LOST: "the connection ended in the middle",
    NO_CONNECTION: "nobody accepted a connection",
    BROKEN: "the answer is not HTTP",
    CUT: "a stream that ended as HTTP should, without its last event",
}


class Result(msgspec.Struct, frozen=True):
    """What came of a plan; `gaps` are the seconds between two reads with events of one answer, as 32-bit floats."""

    samples: list[Sample]
    gaps: bytes
    seconds: float
    cpu_s: float
    """Used by the generator from `Go` to the end."""
    counted_from: float = 0.0
    """Samples that ended before do not count,"""
    counted_to: float = inf
    """nor those that ended later; their CPU does, as they were whole."""


def pack(value: Any) -> bytes:
    """A frame."""
    content = value if isinstance(value, bytes) else msgspec.msgpack.encode(value)
    return len(content).to_bytes(LENGTH_BYTES) + content


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The content of the next frame; empty at the end of the file."""
    try:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(LENGTH_BYTES)))
    except asyncio.IncompleteReadError:
        return b""


def unpack(content: bytes, kind: type[T]) -> T:
    """The value in a frame."""
    return msgspec.msgpack.decode(content, type=kind)
