"""HTTP for operators: /metrics on its own port; the live page and /debug on the admin address. Not the data path."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import math
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from epp.datastore.fleet import Fleet
from epp.datastore.moment import moment
from epp.datastore.overview import briefly, overview
from epp.datastore.receipts import Receipts
from epp.domain import Endpoint
from epp.edge import live as live_page
from epp.edge import page, trial
from epp.edge.live import Live
from epp.edge.trial import Rehearse
from epp.telemetry import Telemetry

EVERY_ADDRESS = "0.0.0.0"
LISTED_MAX = 200
DIGITS_MAX = 10
PAGES = {
    "/": "the same for a person: what happens now",
    "/debug/pools": "pools, their endpoints, objectives, rewrites and conflicts, and conditions of this process",
    "/debug/decisions": "the last decisions, newest first; ?count= up to 200, ?tenant=, ?pool=, ?before=ID",
    "/debug/decisions/{id}": "one decision by the id in its x-onehop-receipt header",
    "/debug/try": "POST a request body: where it would go, without sending or keeping it; ?pool=",
    "/live": "server-sent events of what the page shows",
}
OPEN = ("/", "/page/")  # files without anything of this process in them: a browser cannot send a token for these


@dataclass(frozen=True, slots=True)
class More:
    """What the live page shows beside pools and decisions: files in use, gates by port, and a prompt to try.

    `ports` names the pools whose ports `rehearse` decides for. `level` gives the class of a priority, `since` when
    requests began to be taken.
    """

    configuration: Callable[[], Any] = list
    gates: Callable[[], Any] = dict
    level: Callable[[int], str] = str
    rehearse: Rehearse | None = None
    ports: Callable[[], list[str]] = list
    since: float = -math.inf


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
    more: More | None = None,
) -> web.Application:
    """The `PAGES`, and `/debug` that lists them.

    `state` maps names to callables whose results `/debug/pools` shows as conditions (discovery errors and the like);
    that of `scrape`, endpoint name -> path -> trouble, also shows at the endpoints. `now` is the clock of `Load.at`,
    `prefix` counts the prompt blocks that an endpoint is believed to hold. With a `token`, who does not send it as
    `Authorization: Bearer` gets a 401, whatever the path.
    """

    shows = more or More()

    async def index(_: web.Request) -> web.Response:
        there = {path: what for path, what in PAGES.items() if path != trial.PATH or shows.rehearse is not None}
        return _json({"onehop": there})

    def told() -> dict[str, Any]:
        conditions = {name: ask() for name, ask in state.items()}
        troubles = conditions.get("scrape")
        shown = overview(fleet, now(), troubles if isinstance(troubles, Mapping) else None, prefix)
        return {**shown, "conditions": conditions, "configuration": shows.configuration()}

    def live() -> dict[str, Any]:
        happening = moment(receipts, now(), shows.level, shows.since)
        return {**briefly(told()), "gates": shows.gates(), "moment": happening, "tries": shows.ports()}

    async def pools(_: web.Request) -> web.Response:
        return _json(told())

    async def decisions(request: web.Request) -> web.Response:
        text = request.query.get("count", "20")
        if not (text.isascii() and text.isdigit() and len(text) < DIGITS_MAX and int(text)):
            return _json({"error": f"count is a whole number from 1 to {LISTED_MAX}"}, 400)
        count = min(int(text), LISTED_MAX)
        tenant, pool, before = (request.query.get(name) for name in ("tenant", "pool", "before"))
        return _json({"decisions": list(receipts.latest(count, tenant, pool, before))})

    async def decision(request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        found = receipts.get(wanted)
        if found is not None:
            return _json(found)
        sampled = "" if receipts.samples(wanted) else ": only a sample of those of routed requests is"
        return _json({"error": f"no receipt of that id is kept{sampled}"}, 404)

    app = web.Application(middlewares=[_only_here if token is None else _asking_for(token), _in_json])
    page.add_to(app)
    stream = Live(live)
    app.on_shutdown.append(stream.close)
    app.router.add_get(live_page.PATH, stream.handle)
    if shows.rehearse is not None:
        app.router.add_post(trial.PATH, trial.Trial(shows.rehearse).handle)
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
        if request.path == OPEN[0] or request.path.startswith(OPEN[1]):
            return await handler(request)
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if hmac.compare_digest(given, expected):  # in constant time
            return await handler(request)
        refused = _json({"error": "the admin address asks for its token: Authorization: Bearer TOKEN"}, 401)
        refused.headers["www-authenticate"] = "Bearer"
        return refused

    return check


@web.middleware
async def _only_here(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Without a token, a page of another site must not get at us through the operator's own browser.

    Neither by a name of its own that leads here (DNS rebinding), nor by a request that it sends without reading.
    """
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return _json({"error": "this is not for pages of other sites"}, 403)
    if not _is_local(request.host):
        return _json({"error": "without a token the admin address answers to localhost and to IP addresses only"}, 403)
    return await handler(request)


def _is_local(host: str) -> bool:
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


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
