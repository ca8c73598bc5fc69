"""Bounded GETs to one model server over one connection, with their failures told apart: nobody there, or no use.

A client library's request costs more than everything else about a scrape (`benchmarks/results/scrape.md`), so this is
one protocol and one future. Must stay true: no answer is read beyond its bound; `get` raises nothing else for what a
server may do; one request at a time, and never a connection left behind by one that failed or was cancelled.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import socket
import ssl
from dataclasses import dataclass
from typing import cast

from epp.edge.http1 import Answer, BadHttp

TIMEOUTS_MAX = 2

# Our own shortage says nothing of the server: without this, running out of descriptors would empty the pool.
_OUR_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class NoAnswer(Exception):
    """Nobody answers; `strikes` is how many of these in a row make the server unreachable, infinite for never."""

    def __init__(self, message: str, strikes: float = 1) -> None:
        super().__init__(message)
        self.strikes = strikes


class BadAnswer(Exception):
    """The server answers, but not with what was asked for; `status` where that is what is wrong with it."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True, frozen=True)
class Patience:
    """Seconds until a connection must stand, and until a whole request must be answered."""

    connect_s: float = 0.5
    answer_s: float = 1.0


class _Closed(Exception):
    """The connection ended before a byte of the answer."""

    def __init__(self, reason: Exception | None) -> None:
        super().__init__()
        self.reason = reason


class Client:
    """Asks the server at `address` (`host:port`, IPv6 in brackets); the connection is kept from one GET to the next."""

    def __init__(self, address: str, patience: Patience | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.address = address
        self.patience = patience or Patience()
        self._tls = tls
        self._wire: _Wire | None = None

    async def get(self, path: str, bytes_max: int) -> bytes:
        """The body of a 200; `NoAnswer` or `BadAnswer` otherwise."""
        try:
            async with asyncio.timeout(self.patience.answer_s):
                status, body = await self._answer(path, bytes_max)
        except TimeoutError as error:
            # A busy engine may well be slow to tell its numbers.
            raise NoAnswer("no answer in time", TIMEOUTS_MAX) from error
        except _Closed as error:
            if isinstance(error.reason, OSError):
                raise _no_answer(error.reason) from error.reason
            raise NoAnswer("connection closed without an answer") from error
        except BadHttp as error:
            raise BadAnswer(str(error)) from error
        if status != 200:
            raise BadAnswer(f"HTTP {status}", status)
        return body

    def close(self) -> None:
        """Let the connection go. Closing twice is harmless."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    @property
    def lost(self) -> bool:
        """Whether the server has ended a connection that was kept: it may be going away."""
        return self._wire is not None and self._wire.closed

    async def _answer(self, path: str, bytes_max: int) -> tuple[int, bytes]:
        request = f"GET {path} HTTP/1.1\r\nHost: {self.address}\r\nAccept-Encoding: identity\r\n\r\n".encode()
        wire, self._wire = self._wire, None  # ours again only once the answer is whole
        if wire is not None and not wire.closed:
            try:
                return await self._ask(wire, request, bytes_max)
            except _Closed:
                pass  # the server had just let go of it, as servers do; what counts is a new connection
        return await self._ask(await self._connect(), request, bytes_max)

    async def _ask(self, wire: _Wire, request: bytes, bytes_max: int) -> tuple[int, bytes]:
        try:
            answer = await wire.ask(request, bytes_max)
        except BaseException:
            wire.abort()
            raise
        if answer.keep and not wire.closed:
            self._wire = wire
        else:
            wire.abort()
        return answer.status, answer.body

    async def _connect(self) -> _Wire:
        host, _, port = self.address.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.patience.connect_s):
                _, wire = await loop.create_connection(_Wire, host.strip("[]"), int(port), ssl=self._tls)
        except TimeoutError as error:
            raise NoAnswer("no connection in time", TIMEOUTS_MAX) from error
        except socket.gaierror as error:
            raise NoAnswer("the host name does not resolve", TIMEOUTS_MAX) from error
        except OSError as error:
            raise _no_answer(error) from error
        return wire


class _Wire(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._reason: Exception | None = None

    async def ask(self, request: bytes, bytes_max: int) -> Answer:
        """One answer."""
        assert self._waiter is None
        assert self._transport is not None
        if self.closed:
            raise _Closed(self._reason)
        self._answer = Answer(bytes_max)
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiter
        finally:
            self._waiter = self._answer = None

    def abort(self) -> None:
        """At once, whatever is on its way."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # which uvloop's is no instance of

    def data_received(self, data: bytes) -> None:
        answer, waiter = self._answer, self._waiter
        if answer is None or waiter is None or waiter.done():
            self.abort()  # nobody asked
            return
        try:
            answer.feed(data)
        except BadHttp as error:
            waiter.set_exception(error)
            self.abort()
            return
        if answer.done:
            waiter.set_result(answer)

    def eof_received(self) -> bool:
        return False  # close

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed, self._reason = True, exc
        answer, waiter = self._answer, self._waiter
        if answer is None or waiter is None or waiter.done():
            return
        try:
            if not answer.begun:
                raise _Closed(exc)
            if exc is not None:
                raise BadHttp("the answer was cut off")
            answer.eof()
        except (_Closed, BadHttp) as error:
            waiter.set_exception(error)
        else:
            waiter.set_result(answer)


def _no_answer(error: OSError) -> NoAnswer:
    return NoAnswer(_in_words(error), math.inf if error.errno in _OUR_SHORTAGES else 1)


def _in_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "no TLS connection"
    if isinstance(error, ConnectionResetError):
        return "connection reset by peer"
    return os.strerror(error.errno).lower() if error.errno else f"no connection ({type(error).__name__})"
