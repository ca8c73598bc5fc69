"""HTTP for operators: /metrics on its own port, /debug on the admin address. Never on the data path."""

from __future__ import annotations

import asyncio
import hmac
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from epp.datastore.fleet import Fleet
from epp.datastore.overview import overview
from epp.datastore.receipts import Receipts
from epp.domain import Endpoint
from epp.telemetry import Telemetry

EVERY_ADDRESS = "0.0.0.0"
LISTED_MAX = 200
PAGES = {
    "/debug/pools": "pools, their endpoints, objectives, rewrites and conflicts, and conditions of this process",
    "/debug/decisions": "the last decisions, newest first; ?count= up to 200, ?tenant=, ?pool=",
    "/debug/decisions/{id}": "one decision by the id in its x-onehop-receipt header",
}


def metrics_app(telemetry: Telemetry) -> web.Application:
    """`GET /metrics` and nothing else."""

    async def metrics(_: web.Request) -> web.Response:
        parts = []
        for part in telemetry.parts():
            parts.append(part)
            await asyncio.sleep(0)  # thousands of series take a while, and requests must not wait for them
        return web.Response(body=b"".join(parts), headers={"content-type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app


def admin_app(
    fleet: Fleet,
    receipts: Receipts,
    state: Mapping[str, Callable[[], Any]],
    token: str | None = None,
    *,
    now: Callable[[], float] = time.monotonic,
    prefix: Callable[[Endpoint], int] | None = None,
) -> web.Application:
    """The `PAGES`, and `/debug` that lists them.

    `state` maps names to callables whose results `/debug/pools` shows as conditions (discovery errors and the like);
    that of `scrape`, endpoint name -> path -> trouble, also shows at the endpoints. `now` is the clock of `Load.at`,
    `prefix` counts the prompt blocks that an endpoint is believed to hold. With a `token`, who does not send it as
    `Authorization: Bearer` gets a 401, whatever the path.
    """

    async def index(_: web.Request) -> web.Response:
        return _json({"onehop": PAGES})

    async def pools(_: web.Request) -> web.Response:
        conditions = {name: ask() for name, ask in state.items()}
        troubles = conditions.get("scrape")
        shown = overview(fleet, now(), troubles if isinstance(troubles, Mapping) else None, prefix)
        return _json({**shown, "conditions": conditions})

    async def decisions(request: web.Request) -> web.Response:
        text = request.query.get("count", "20")
        count = min(int(text), LISTED_MAX) if text.isascii() and text.isdigit() else 20
        tenant, pool = request.query.get("tenant"), request.query.get("pool")
        return _json({"decisions": list(receipts.latest(count, tenant, pool))})

    async def decision(request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        found = receipts.get(wanted)
        if found is not None:
            return _json(found)
        sampled = "" if receipts.samples(wanted) else ": only a sample of those of routed requests is"
        return _json({"error": f"no receipt of that id is kept{sampled}"}, 404)

    app = web.Application(middlewares=[*([] if token is None else [_asking_for(token)]), _in_json])
    app.router.add_get("/debug", index)
    app.router.add_get("/debug/", index)
    app.router.add_get("/debug/pools", pools)
    app.router.add_get("/debug/decisions", decisions)
    app.router.add_get("/debug/decisions/{id}", decision)
    return app


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Start serving; the caller cleans the runner up. Raises OSError when the port is taken."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        every = _every_address(port) if host == EVERY_ADDRESS else None
        site = web.TCPSite(runner, host, port) if every is None else web.SockSite(runner, every)
        await site.start()
    except OSError as taken:
        await runner.cleanup()
        raise OSError(f"cannot listen on {host}:{port}: {taken.strerror or taken}") from taken
    return runner


def _every_address(port: int) -> socket.socket | None:
    """As gRPC takes 0.0.0.0: every address, also those of IPv6; None where there are none or the port is taken."""
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return None


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


@web.middleware
async def _in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A wrong path or method is told as everything else is: in JSON, with where to look instead."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as refused:
        allowed = ", ".join(sorted(refused.allowed_methods))
        told = _json({"error": f"{request.method} is not allowed here, {allowed} is"}, 405)
        told.headers["allow"] = allowed
        return told
    except web.HTTPNotFound:
        return _json({"error": "there is nothing at this path; /debug lists what there is"}, 404)


def _json(data: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), status=status, content_type="application/json")
