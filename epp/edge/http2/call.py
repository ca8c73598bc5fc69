"""One call: its messages on the way to the coroutine that answers it, and its end on the way back."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, CancelledError, TimerHandle
from collections.abc import Sequence
from typing import Protocol, final

from epp.edge.http2.drive import Drive, parked
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.stream import Http2Stream
from epp.edge.methods import Disconnected, Method, Reading
from epp.edge.status import Code, Failed

log = logging.getLogger(__name__)


class Way(Protocol):
    """What a call needs of its connection; all of it may be said at any time, also of a stream that is gone."""

    def read(self, stream: Http2Stream, size: int) -> None:
        """A message was read."""

    def send(self, stream: Http2Stream, message: bytes) -> None:
        """A message of the answer."""

    def finish(self, stream: Http2Stream, code: Code, text: str) -> None:
        """The end of the answer."""

    def abort(self, stream: Http2Stream, code: ErrorCode) -> None:
        """The end without an answer."""


@final
class Call(Reading):
    """Runs `method` for one stream. Between `come`, `end` and `drained` it runs on in those very calls."""

    __slots__ = (
        "_drive",
        "_failure",
        "_is_over",
        "_reads",
        "_send_bytes_max",
        "_status",
        "_stream",
        "_timer",
        "_unsent_bytes_max",
        "_way",
    )

    def __init__(
        self, stream: Http2Stream, way: Way, method: Method, loop: AbstractEventLoop, limits: Http2Limits
    ) -> None:
        super().__init__()
        self._stream = stream
        self._way = way
        self._send_bytes_max = limits.send_bytes_max
        self._unsent_bytes_max = limits.unsent_bytes_max
        self._reads = False
        self._failure: Exception | None = None
        self._is_over = False
        self._status: tuple[Code, str] | None = None
        self._timer: TimerHandle | None = None
        self._drive = Drive(method(self, self._write), loop, self._ended)
        if stream.head.timeout_s is not None:
            self._timer = loop.call_later(stream.head.timeout_s, self.stop, Code.DEADLINE_EXCEEDED, "too late")

    def start(self) -> None:
        """Begin to answer."""
        self._drive.start()

    def come(self, message: bytes) -> Sequence[bytes] | None:
        """The next message; what answers it where `passing` does so at once: who waits for it then waits on."""
        passing, drive, stream, inbox = self.passing, self._drive, self._stream, self.inbox
        is_behind = inbox or stream.unsent > self._unsent_bytes_max
        if passing is not None and self._reads and drive.is_parked and not is_behind:
            try:
                replies = passing(message)
                if replies is not None:
                    for reply in replies:
                        if len(reply) > self._send_bytes_max:
                            raise self._too_large()
                    return replies
            except Exception as failure:
                self._failure = failure
                drive.go_on()
                return None
        inbox.append(message)
        drive.go_on()
        return None

    def end(self) -> None:
        """No message follows."""
        self._is_over = True
        self._drive.go_on()

    def drained(self) -> None:
        """What had to wait is on its way."""
        self._drive.go_on()

    def reset(self) -> None:
        """The peer is gone."""
        self.gone = True
        self.inbox.clear()
        if self._reads and self.passing is not None and self._drive.is_parked:
            self._is_over = True
            self._drive.go_on()
        else:
            self._drive.cancel_now()

    def stop(self, code: Code, text: str) -> None:
        """End the call with this status, whatever it is doing."""
        if self._status is None and not self._drive.done():
            self._status = (code, text)
            self._drive.cancel()

    async def __call__(self) -> bytes | None:
        """The next message, None at the end."""
        inbox = self.inbox
        while not inbox:
            if self._is_over:
                return None
            self._reads = True
            try:
                await parked()
            finally:
                self._reads = False
            if self._failure is not None:
                raise self._failure
        message = inbox.popleft()
        self._way.read(self._stream, len(message))
        return message

    async def _write(self, message: bytes) -> None:
        if self.gone:
            raise Disconnected
        if len(message) > self._send_bytes_max:
            raise self._too_large()
        self._way.send(self._stream, message)
        while self._stream.unsent > self._unsent_bytes_max:
            await parked()

    def _too_large(self) -> Failed:
        return Failed(Code.RESOURCE_EXHAUSTED, f"an answer of more than {self._send_bytes_max} bytes")

    def _ended(self, error: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._stream.call = None
        if self.gone:
            return
        if self._status is not None:
            self._way.finish(self._stream, *self._status)
        elif error is None:
            self._way.finish(self._stream, Code.OK, "")
        elif isinstance(error, Failed):
            self._way.finish(self._stream, error.code, error.text)
        elif isinstance(error, CancelledError):
            self._way.abort(self._stream, ErrorCode.CANCEL)
        else:
            log.error("surprise %s ended a call", type(error).__name__)  # its text may hold what a client said
            self._way.finish(self._stream, Code.UNKNOWN, type(error).__name__)
