"""A model server on a real loopback socket that misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections import Counter

from aiohttp import web

METRICS = b'vllm:num_requests_waiting{engine="0"} %d\nvllm:num_requests_running{engine="0"} 1\n'
MODELS = b'{"data":[{"id":"llama3-8b","parent":null},{"id":"sql","parent":"llama3-8b"}]}'


class ModelServer:
    """Answers `bodies` with `statuses`, and `with_query` (if any) where there is a query.

    Endless where a path is in `endless`, never while `answering` is not set.
    """

    def __init__(self) -> None:
        self.bodies = {"/metrics": METRICS % 3, "/v1/models": MODELS}
        self.statuses: dict[str, int] = {}
        self.endless: set[str] = set()
        self.answering = asyncio.Event()
        self.answering.set()
        self.with_query: tuple[bytes, int] | None = None
        self.queries = 0
        self.asked: Counter[str] = Counter()
        self.connections: set[asyncio.Transport] = set()
        self.cut_off = asyncio.Event()
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return sum(not transport.is_closing() for transport in self.connections)

    async def __aenter__(self) -> ModelServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections from now on, and close those that are open."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        assert request.transport is not None
        self.connections.add(request.transport)
        await self.answering.wait()
        if request.path in self.endless:
            return await self._answer_without_end(request)
        if request.query_string:
            self.queries += 1
            if self.with_query is not None:
                body, status = self.with_query
                return web.Response(body=body, status=status)
        if request.path not in self.bodies:
            return web.Response(status=404)
        return web.Response(body=self.bodies[request.path], status=self.statuses.get(request.path, 200))

    async def _answer_without_end(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"# nothing to see here\n" * 1000)
        finally:
            self.cut_off.set()
