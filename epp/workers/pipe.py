"""One end of the socket between a worker and the process that decides.

What is said within one turn of the loop is written at once. It needs no bound of its own: a stream has at most one
question under way, whose body the worker's own bound on bodies counts, and one answer for each.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from epp.workers.messages import Down, Unpacking, Up, packed

M = TypeVar("M")


class Pipe(asyncio.Protocol, Generic[M]):
    """Messages of one kind in, `say` for those that go out; `lost` is called once, when the other end is gone."""

    def __init__(self, kind: Any, heard: Callable[[M], None], lost: Callable[[], None]) -> None:
        self._decode: Callable[[memoryview], M] = msgspec.msgpack.Decoder(kind).decode
        self._heard = heard
        self._lost = lost
        self._unpacking = Unpacking()
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self.before_writing: Callable[[], None] = lambda: None
        """Called before a turn's messages are written: the last moment to add to them."""

    @classmethod
    async def over(cls, end: socket.socket, kind: Any, heard: Callable[[M], None], lost: Callable[[], None]) -> Pipe[M]:
        """A pipe over one end of a connected pair."""
        loop = asyncio.get_running_loop()
        _, pipe = await loop.create_connection(lambda: cls(kind, heard, lost), sock=end)
        return pipe

    def say(self, message: Up | Down) -> None:
        """Send it, with whatever else is said in this turn; to nobody where the other end is gone."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(packed(message))

    def flush(self) -> None:
        """Write what waits."""
        self.before_writing()
        data, self._waiting = b"".join(self._waiting), []
        if self._transport is not None and data:
            self._transport.write(data)

    def close(self) -> None:
        """Say what is left, and end."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        """The other end is there."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes from the other end."""
        for message in self._unpacking.feed(data):
            self._heard(self._decode(message))

    def connection_lost(self, _: Exception | None) -> None:
        """The other end is gone."""
        self._transport = None
        self._lost()
