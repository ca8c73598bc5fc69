"""A model server for wiring tests: quick, exact to the byte, and as loaded as the test says.

It answers with a body of as many bytes as `max_tokens` asks for, tells who it is and what it was asked, and reports
the queue it is given. Nothing is computed, so a large answer comes at once and whole, which is what loses bytes on its
way through a gateway.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

FILLER = b"every byte of this answer is counted; "
PIECE = 16_384


def answer_bytes(size: int) -> bytes:
    """The answer of exactly that many bytes: JSON, if it is long enough to be any."""
    head, tail = b'{"object":"chat.completion","choices":[{"message":{"content":"', b'"}}]}'
    room = max(size - len(head) - len(tail), 0)
    return head + (FILLER * (room // len(FILLER) + 1))[:room] + tail


@dataclass(slots=True)
class Replica:
    """One server. `waiting` is the queue it reports, `delay_s` how long it takes to begin an answer, `status` what it
    answers with instead, if it is in trouble."""

    name: str
    models: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "default"
    address: str = "127.0.0.1"
    port: int = 0
    waiting: int = 0
    delay_s: float = 0.0
    status: int | None = None
    seen: set[str] = field(default_factory=set)
    hold: asyncio.Event | None = None
    _runner: web.AppRunner | None = None

    @property
    def at(self) -> str:
        """Where it listens."""
        return f"{self.address}:{self.port}"

    async def start(self) -> None:
        """Listen; a port of 0 becomes a real one and stays."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.address, self.port, backlog=2048)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop at once."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _metrics(self, request: web.Request) -> web.Response:
        numbers = {"num_requests_waiting": self.waiting, "num_requests_running": 0, "kv_cache_usage_perc": 0}
        rows = [f'vllm:{name}{{model_name="{self.models[0]}"}} {float(value)}' for name, value in numbers.items()]
        return web.Response(text="\n".join(["# vLLM", *rows, ""]))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked: Any = json.loads(body)
        self.seen.add(request.headers["x-request-id"])  # a gateway's second try of a request has the same
        if self.status is not None:
            return web.json_response({"error": {"message": "The engine is in trouble."}}, status=self.status)
        if self.hold is not None:
            await self.hold.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        told = {
            "x-replica": self.name,
            "x-simulated-replica": self.name,  # as the simulated model servers of the guide say it
            "x-asked-model": asked["model"],
            "x-asked-bytes": str(len(body)),
            "x-asked-digest": hashlib.sha256(body).hexdigest(),
            "x-had-headers": ",".join(sorted(name.lower() for name in request.headers)),
            "x-had-tenant": request.headers.get("x-tenant", ""),
        }
        size = int(asked.get("max_tokens", 100))
        if not asked.get("stream"):
            return web.Response(body=answer_bytes(size), headers=told, content_type="application/json")
        response = web.StreamResponse(headers={**told, "content-type": "text/event-stream"})
        await response.prepare(request)
        whole = answer_bytes(size)
        for start in range(0, size, PIECE):
            await response.write(whole[start : start + PIECE])
        await response.write_eof()
        return response


@asynccontextmanager
async def serving(replicas: Sequence[Replica]) -> AsyncIterator[None]:
    """All of them, from here to the end."""
    async with AsyncExitStack() as closing:
        for replica in replicas:
            await replica.start()
            closing.push_async_callback(replica.close)
        yield
