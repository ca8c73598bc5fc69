"""HTTP for operators: /metrics on its own port, /debug on the admin address. Never on the data path."""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from epp.datastore.pool import Pool
from epp.datastore.receipts import Receipts
from epp.telemetry import Telemetry

LISTED_MAX = 200


def metrics_app(telemetry: Telemetry) -> web.Application:
    """`GET /metrics` and nothing else."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=telemetry.text(), headers={"content-type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app


def admin_app(pool: Pool, receipts: Receipts, state: dict[str, Any], token: str | None = None) -> web.Application:
    """`/debug/pools`, `/debug/decisions` (newest first, `?count=`) and `/debug/decisions/{id}`.

    `state` maps names to callables whose results `/debug/pools` shows as conditions (discovery errors and the like).
    With a `token`, who does not send it as `Authorization: Bearer` gets a 401, whatever the path.
    """

    async def pools(_: web.Request) -> web.Response:
        endpoints = [
            {
                "name": e.name,
                "address": e.address,
                "reachable": e.reachable,
                "models": sorted(e.models) if e.models is not None else None,
                "inflight_requests": e.inflight_requests,
                "inflight_tokens": e.inflight_tokens,
                "load": e.load,
            }
            for e in pool.endpoints
        ]
        conditions = {name: ask() for name, ask in state.items()}
        return _json({"pools": [{"name": pool.name, "endpoints": endpoints}], "conditions": conditions})

    async def decisions(request: web.Request) -> web.Response:
        text = request.query.get("count", "20")
        count = min(int(text), LISTED_MAX) if text.isascii() and text.isdigit() else 20
        return _json({"decisions": list(receipts.latest(count))})

    async def decision(request: web.Request) -> web.Response:
        found = receipts.get(request.match_info["id"])
        return _json(found) if found is not None else _json({"error": "no receipt of that id is kept"}, 404)

    app = web.Application(middlewares=[] if token is None else [_asking_for(token)])
    app.router.add_get("/debug/pools", pools)
    app.router.add_get("/debug/decisions", decisions)
    app.router.add_get("/debug/decisions/{id}", decision)
    return app


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Start serving; the caller cleans the runner up. Raises OSError when the port is taken."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as taken:
        await runner.cleanup()
        raise OSError(f"cannot listen on {host}:{port}: {taken.strerror or taken}") from taken
    return runner


def _asking_for(token: str) -> Any:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if hmac.compare_digest(given, expected):  # in constant time
            return await handler(request)
        refused = _json({"error": "the admin address asks for its token: Authorization: Bearer TOKEN"}, 401)
        refused.headers["www-authenticate"] = "Bearer"
        return refused

    return check


def _json(data: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), status=status, content_type="application/json")
