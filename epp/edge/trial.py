"""A prompt to try on the admin address: decided as if it came now, and forgotten at once.

Must stay true: what was sent is in no log and no error; who asks too much is told so, and requests do not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

PATH = "/debug/try"
BODY_BYTES_MAX = 1 << 20
AT_ONCE_MAX, WAITING_MAX = 2, 8

Rehearse = Callable[[bytes, str | None], Awaitable[dict[str, Any] | None]]
"""A request body and the name of a pool's port (None: the first) -> the receipt; None where there is no such port."""


class Trial:
    """`POST /debug/try?pool=NAME` with an OpenAI-shaped body: the receipt of a decision that is not carried out."""

    def __init__(self, rehearse: Rehearse) -> None:
        self._rehearse = rehearse
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0

    async def handle(self, request: web.Request) -> web.Response:
        """The receipt, or in JSON why there is none."""
        if request.content_type != "application/json":  # a page of another origin cannot send this without being asked
            return _json({"error": "send application/json"}, 415)
        body = await _read(request)
        if body is None:
            return _json({"error": f"the request is larger than {BODY_BYTES_MAX} bytes"}, 413)
        if self._waiting >= WAITING_MAX:
            return _json({"error": "too many prompts are being tried; try again"}, 429)
        self._waiting += 1
        try:
            async with self._room:
                found = await self._rehearse(body, request.query.get("pool"))
        except Exception as surprise:  # its text may hold the prompt, and the server would log it
            return _json({"error": f"unexpected {type(surprise).__name__}"}, 500)
        finally:
            self._waiting -= 1
        return _json({"error": "no port decides over that pool"}, 404) if found is None else _json(found, 200)


async def _read(request: web.Request) -> bytes | None:
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


def _json(data: object, status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), status=status, content_type="application/json")
