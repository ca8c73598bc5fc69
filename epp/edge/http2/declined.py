"""A request that is no call: its answer waits until it has come whole.

A mistake further on in it is then met by an error and not by an answer (RFC 9113 section 8.1 lets a server do both;
h2spec waits for the error).
"""

from __future__ import annotations

from collections.abc import Callable

from epp.edge.http2.stream import Http2Stream
from epp.edge.status import Code


class Declined:
    """Stands where the call of a stream would; `answer` sends the answer, `read` takes note of bytes."""

    __slots__ = ("_answer", "_read", "_stream")

    def __init__(
        self, stream: Http2Stream, read: Callable[[Http2Stream, int], None], answer: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._read = read
        self._answer = answer

    def come(self, message: bytes) -> None:
        """A piece of it that looks like a message; nobody reads it, or answers it."""
        self._read(self._stream, len(message))

    def end(self) -> None:
        """All of it is here."""
        self._stream.call = None
        self._answer()

    def stop(self, code: Code, text: str) -> None:
        """It is not made of messages, which is no wonder."""
        self.end()

    def drained(self) -> None:
        """Nothing of it waits."""

    def reset(self) -> None:
        """The peer is gone."""
