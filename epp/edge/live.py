"""What happens now as a stream of server-sent events: one state a second for all who listen, and no work for nobody.

Must stay true: nothing is made while nobody listens; the listeners are few, and one that takes nothing is dropped; a
slow one gets the newest state and not those before it (https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web

log = logging.getLogger(__name__)
PATH = "/live"
LISTENERS_MAX = 16
EVERY_S = 1.0
PATIENCE_S = 10.0
SHARE_MAX = 0.02  # of a core; a state that is dear to make is made less often
HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",
}


class Live:
    """`state` is JSON-ready data; it is asked for every `every_s` seconds, and only while somebody listens."""

    def __init__(
        self,
        state: Callable[[], Any],
        *,
        every_s: float = EVERY_S,
        listeners_max: int = LISTENERS_MAX,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._state = state
        self._every_s = every_s
        self._listeners_max = listeners_max
        self._patience_s = patience_s
        self._changed = asyncio.Event()
        self._event = b""
        self._number = 0
        self._making: asyncio.Task[None] | None = None
        self.listeners = 0
        self.made = 0
        self._closed = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Events until the listener leaves, takes nothing, or the process ends."""
        if self.listeners >= self._listeners_max or self._closed:
            return web.json_response({"error": f"{self.listeners} listen already, and no more may"}, status=503)
        stream = web.StreamResponse(headers=HEADERS)
        self.listeners += 1
        try:
            await stream.prepare(request)
            await self._tell(stream)
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()  # what it has not taken is not kept for it
        finally:
            self.listeners -= 1
            if self.listeners == 0:
                await self._rest()
        return stream

    async def close(self, _: web.Application) -> None:
        """Streams would go on for ever, and the server waits for them before it ends."""
        self._closed = True
        await self._rest()
        self._wake()

    async def _tell(self, stream: web.StreamResponse) -> None:
        seen = 0
        if self._making is None:
            self._making = asyncio.create_task(self._make(), name="live page")
        elif self._event:
            seen = await self._send(stream)
        while self._making is not None and not self._making.done():
            if seen == self._number:
                await self._changed.wait()
            if seen != self._number:
                seen = await self._send(stream)

    async def _send(self, stream: web.StreamResponse) -> int:
        number, event = self._number, self._event
        async with asyncio.timeout(self._patience_s):
            await stream.write(event)
        return number

    async def _make(self) -> None:
        """Runs while somebody listens."""
        try:
            while True:
                began = time.thread_time()
                encoded = msgspec.json.encode(self._state())
                self._event = b"event: state\ndata: " + encoded + b"\n\n"
                self._number += 1
                self.made += 1
                self._wake()
                await asyncio.sleep(max(self._every_s, (time.thread_time() - began) / SHARE_MAX))
        except Exception as surprise:
            log.error("the live page ends: unexpected %s", type(surprise).__name__)
        finally:
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _rest(self) -> None:
        making, self._making = self._making, None
        self._event = b""
        if making is not None:
            making.cancel()
            with suppress(asyncio.CancelledError):
                await making
