"""vSR's classification API on the admin address: bounded in size and number, and never on the data path.

Must stay true: what was sent is in no log and no error; who asks too much is told so, and requests do not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

PREFIX = "/api/v1/"
BODY_BYTES_MAX = 1 << 20
AT_ONCE_MAX = 4
"""Calls at work; each asks for one text at a time."""
WAITING_MAX = 32

Call = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Unanswered(Exception):
    """Why a call has no answer: an HTTP status and vSR's code for it; the message holds nothing of the request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class ClassifyApi:
    """`calls` are the paths below the prefix; they raise Unanswered."""

    def __init__(self, calls: Mapping[str, Call]) -> None:
        self._calls = calls
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0

    def add_to(self, app: web.Application) -> None:
        """`POST` on each path."""
        for name, call in self._calls.items():
            app.router.add_post(PREFIX + name, self._handler(call))

    def _handler(self, call: Call) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                given = await _read(request)
                return _json(await self._answer(call, given), 200)
            except Unanswered as why:
                stamp = datetime.now(UTC).isoformat(timespec="seconds")
                error = {"code": why.code, "message": why.message, "timestamp": stamp}
                return _json({"error": error}, why.status)

        return handle

    async def _answer(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
        if self._waiting >= WAITING_MAX:
            raise Unanswered(429, "TOO_MANY_REQUESTS", "too many calls are waiting; try again")
        self._waiting += 1
        try:
            async with self._room:
                return await call(given)
        finally:
            self._waiting -= 1


async def _read(request: web.Request) -> Mapping[str, Any]:
    """A JSON object; `?trace=true` counts as its member."""
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise Unanswered(413, "REQUEST_TOO_LARGE", f"the request is larger than {BODY_BYTES_MAX} bytes")
    try:
        given = msgspec.json.decode(bytes(body), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as broken:
        raise Unanswered(400, "INVALID_INPUT", "the request must be a JSON object") from broken
    if request.query.get("trace", "").lower() in ("true", "1"):
        given["trace"] = True
    return given


def _json(data: object, status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), status=status, content_type="application/json")
