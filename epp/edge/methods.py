"""The seam between transports and what they carry: methods by path, each a coroutine over a reader and a writer.

Nothing here knows of grpcio or of our own HTTP/2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from epp.flow.gate import Gone

Read = Callable[[], Awaitable[bytes | None]]
Write = Callable[[bytes], Awaitable[None]]
# Ends well by returning, otherwise by raising `Failed`. A write raises `Disconnected` where the peer is gone.
Method = Callable[[Read, Write], Coroutine[Any, Any, None]]
Methods = Mapping[str, Method]


# What answers a message in the very call that brings it: its replies, or None where the message is to be read.
Passing = Callable[[bytes], list[bytes] | None]


class Reading:
    """Of a `Read` that lets whoever waits in it look at messages as they come, unwoken for those it answers.

    Of `passing` is asked only while somebody waits, nothing waits to be read, and the answer is not held up. What it
    raises is raised where the message would have been read. `inbox` are the messages that wait to be read. Whoever has
    set `passing` and waits here when the peer resets the stream reads None, with `gone` set, and is not cancelled:
    every stream of a gateway ends like this, and an exception through all that waits costs more.
    """

    __slots__ = ("gone", "inbox", "passing")

    def __init__(self) -> None:
        self.passing: Passing | None = None
        self.inbox: deque[bytes] = deque()
        self.gone = False


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest message in each direction, and how many streams may be open at once."""

    receive_bytes_max: int = 64 * 2**20  # Envoy sends a whole buffered body in one message
    send_bytes_max: int = 64 * 2**20
    streams_max: int = 40_000


DEFAULT_LIMITS = Limits()


class Disconnected(Gone):
    """The peer is gone: nothing can be written to it."""


class Server(Protocol):
    """A port, bound from the start."""

    @property
    def port(self) -> int:
        """Its number."""

    async def start(self) -> None:
        """Serve."""

    async def stop(self, grace: float | None) -> None:
        """Take no new calls; those that are open have `grace` seconds, or none. May be said again, with less."""
