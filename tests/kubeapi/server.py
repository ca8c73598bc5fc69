"""A Kubernetes API server on a real loopback socket that misbehaves on demand.

    async with ApiServer(PODS, POOLS) as api:          # what it serves; anything else is 404, as without the CRD
        api.put(PODS, "llm", "vllm-0", {"status": {...}})
        kube = api.connect()
        ...
        api.misbehave("watch", Drop(after=1, half_line=True))   # once, to the next watch (those open are cut)
        api.denied.add(POOLS)                           # 403 until removed
        api.compact()                                   # watches and pages from before get 410
        await api.restart(); await api.restart(backup)  # same port; with what a `backup()` holds

It lists (label selectors, pages), watches (bookmarks by `bookmark()`), gets, creates, replaces (409), patches, deletes,
and tells its API groups. `asked` is every request as (verb, plural), in order; the verbs are list, page, watch, get,
create, replace, patch, delete and discover.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2
from aiohttp import web

from epp.edge.kube.client import Kube, KubeLimits, Resource
from tests.kubeapi.store import Object, Store

FAR = 1_000_000  # more versions than any test sees
TURNS_TO_TAKE = 5


@dataclass
class Refuse:
    """Any verb: this status instead of an answer."""

    status: int
    reason: str = "InternalError"
    body: str | None = None


@dataclass
class Hang:
    """Any verb: nothing, not even a head, until the client gives up or `until` is set."""

    until: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


@dataclass
class Slow:
    """A list: half of the answer, and the rest when `until` is set."""

    until: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


@dataclass
class Drop:
    """A watch: cut after so many events, perhaps in the middle of the next line; any other verb: cut, and not done."""

    after: int = 0
    half_line: bool = False


@dataclass
class Unheard:
    """Any verb but a watch: done, and then cut instead of answered."""


@dataclass
class End:
    """A watch: ended in order after so many events."""

    after: int = 0


@dataclass
class Stall:
    """A watch: silent after so many events, with the connection open."""

    after: int = 0


@dataclass
class Say:
    """A watch: this line after so many events, and then go on."""

    line: bytes
    after: int = 0


Fault = Refuse | Hang | Slow | Drop | Unheard | End | Stall | Say

EXPIRED = Say(
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure",'
    b'"message":"too old resource version","reason":"Expired","code":410}}'
)


class ApiServer:
    """Serves `resources`; `store` is what it knows, to be changed by `put` and `remove` so that watchers are told."""

    def __init__(self, *resources: Resource, tls: ssl.SSLContext | None = None) -> None:
        self.resources = set(resources)
        self.denied: set[Resource] = set()
        self.tokens: set[str] | None = None  # None: anyone may come
        self.store = Store()
        self.asked: list[tuple[str, str]] = []
        self.queries: list[dict[str, str]] = []
        self.port = 0
        self._tls = tls
        self._faults: dict[str, deque[Fault]] = {}
        self._snapshots: dict[str, tuple[int, list[Object]]] = {}
        self._tokens = itertools.count()
        self._names = itertools.count()
        self._news = asyncio.Event()
        self._bookmarks = 0
        self._watches: set[_Watch] = set()
        self._open: set[asyncio.BaseTransport] = set()
        self._runner: web.AppRunner | None = None
        self._listening: socket.socket

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def watching(self) -> int:
        """How many watches are open."""
        return len(self._watches)

    def connect(self, limits: KubeLimits | None = None) -> Kube:
        """A client, without a kubeconfig file; close it."""

        return Kube(
            httpx2.AsyncClient(base_url=self.url, limits=httpx2.Limits(max_connections=None)), "default", limits
        )

    def kubeconfig(self, folder: Path, user: dict[str, Any], **cluster: object) -> Path:
        """A kubeconfig file that leads here."""
        content = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "here", "user": "me", "namespace": "llm"}}],
            "clusters": [{"name": "here", "cluster": {"server": self.url, **cluster}}],
            "users": [{"name": "me", "user": user}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(content))  # JSON is YAML
        return path

    async def __aenter__(self) -> ApiServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0, handler_cancellation=True)
        await self._runner.setup()
        self._listening = socket.create_server(("127.0.0.1", self.port))
        await web.SockSite(self._runner, self._listening, ssl_context=self._tls, backlog=256).start()
        self.port = self._listening.getsockname()[1]

    async def stop(self) -> None:
        """Cut every connection and refuse new ones."""
        if self._runner is None:
            return
        # Closing the listener would lose the socket of a connection that is just being taken, in CPython.
        asyncio.get_running_loop().remove_reader(self._listening)
        for _ in range(TURNS_TO_TAKE):
            await asyncio.sleep(0)
        for transport in self._open:
            _abort(transport)
        self._open.clear()
        await self._runner.cleanup()
        self._runner = None

    async def restart(self, backup: Store | None = None, *, versions: int = -FAR) -> None:
        """Stop and start; with what `backup` holds if one is given, its versions that far from the latest.

        Watchers can go on from nothing before this.
        """
        await self.stop()
        if backup is not None:
            self.store = backup.restored(self.store.version + versions)
        self.compact()
        await self.start()

    def backup(self) -> Store:
        """All that the server holds now, for a later restart."""
        return copy.deepcopy(self.store)

    def put(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        """Create or change an object behind everyone's back."""
        return self._told(self.store.put(resource, namespace, name, body))

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        self._told(self.store.remove(resource, namespace, name))

    def compact(self) -> None:
        """Forget the history, and with it the lists that are under way."""
        self.store.compact()
        self._snapshots.clear()

    def bookmark(self) -> None:
        """Send one to every watch that wants them."""
        self._bookmarks += 1
        self._told(None)

    def misbehave(self, verb: str, *faults: Fault) -> None:
        """Answer the next requests of that verb like this, one each; for `watch`, cut those that are open."""
        self._faults.setdefault(verb, deque()).extend(faults)
        if verb == "watch":
            self.cut()

    def behave(self) -> None:
        """Forget the faults that nobody has met yet."""
        self._faults.clear()

    def cut(self) -> None:
        """Cut every open watch."""
        for watch in self._watches:
            _abort(watch.request.transport)

    def _told(self, value: Any) -> Any:
        self._news.set()
        self._news = asyncio.Event()
        return value

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self._open.add(request.transport)
        where = _Path(request.rel_url.raw_path)
        verb = where.verb(request)
        self.asked.append((verb, where.plural))
        self.queries.append(dict(request.query))
        fault = self._faults[verb].popleft() if self._faults.get(verb) else None
        if isinstance(fault, Hang):
            await fault.until.wait()
        resource = next((r for r in self.resources if where.is_of(r)), None)
        if refusal := self._refuse(request, fault, verb, resource):
            return refusal
        if isinstance(fault, Drop) and verb != "watch":
            _abort(request.transport)
            return web.Response()
        if resource is None:
            return self._discover(where)
        answer = await self._verbs[verb](self, request, resource, where, fault)
        if isinstance(fault, Unheard):
            _abort(request.transport)
        return answer

    def _refuse(
        self, request: web.Request, fault: Fault | None, verb: str, resource: Resource | None
    ) -> web.Response | None:
        if isinstance(fault, Refuse):
            return _refusal(fault.status, fault.reason, fault.body)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens is not None and bearer not in self.tokens:
            return _refusal(401, "Unauthorized")
        if resource in self.denied:
            return _refusal(403, "Forbidden")
        if resource is None and verb != "discover":
            return web.Response(status=404, text="404 page not found\n")
        return None

    def _discover(self, where: _Path) -> web.Response:
        groups = {(r.group, r.version) for r in self.resources if r.group == where.group}
        if where.version:
            found = [r for r in self.resources if (r.group, r.version) == (where.group, where.version)]
            names = [{"name": r.plural, "kind": r.kind, "namespaced": True} for r in found]
            names += [{"name": f"{r.plural}/status", "kind": r.kind, "namespaced": True} for r in found]
            return web.json_response({"kind": "APIResourceList", "resources": names})
        if not groups:
            return web.Response(status=404, text="404 page not found\n")
        versions = [{"groupVersion": f"{group}/{version}", "version": version} for group, version in sorted(groups)]
        return web.json_response({"kind": "APIGroup", "name": where.group, "versions": versions})

    async def _list(
        self, request: web.Request, resource: Resource, where: _Path, fault: Fault | None
    ) -> web.StreamResponse:
        token, limit = request.query.get("continue", ""), int(request.query.get("limit") or 0)
        if not token:
            items = self.store.select(resource, where.namespace, request.query.get("labelSelector", ""))
            version = self.store.version
        elif token in self._snapshots:
            version, items = self._snapshots.pop(token)
        else:
            return _refusal(410, "Expired")
        metadata = {"resourceVersion": str(version)}
        if limit and len(items) > limit:
            metadata["continue"] = f"token-{next(self._tokens)}"
            self._snapshots[metadata["continue"]] = version, items[limit:]
            items = items[:limit]
        # As the real one does: null for none, and members of a list do not name their kind.
        bare = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
        body = json.dumps({"kind": f"{resource.kind}List", "metadata": metadata, "items": bare or None}).encode()
        if isinstance(fault, Slow):
            return await _slowly(request, body, fault.until)
        return web.Response(body=body, content_type="application/json")

    async def _watch(
        self, request: web.Request, resource: Resource, where: _Path, fault: Fault | None
    ) -> web.StreamResponse:
        after = int(request.query["resourceVersion"])
        if after > self.store.version:
            return _too_large(after, self.store.version)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        watch = _Watch(self, request, response, resource, where, fault)
        self._watches.add(watch)
        try:
            with suppress(ConnectionResetError):
                await watch.run(after)
        finally:
            self._watches.discard(watch)
        return response

    async def _get(self, request: web.Request, resource: Resource, where: _Path, _: Fault | None) -> web.Response:
        found = self.store.objects.get((resource, where.namespace or "", where.name))
        return _refusal(404, "NotFound") if found is None else web.json_response(found)

    async def _create(self, request: web.Request, resource: Resource, where: _Path, _: Fault | None) -> web.Response:
        body = await request.json()
        metadata = body["metadata"]
        name = metadata.get("name") or f"{metadata['generateName']}{next(self._names)}"
        if (resource, where.namespace or "", name) in self.store.objects:
            return _refusal(409, "AlreadyExists")
        return web.json_response(self.put(resource, where.namespace or "", name, body), status=201)

    async def _replace(self, request: web.Request, resource: Resource, where: _Path, _: Fault | None) -> web.Response:
        body = await request.json()
        found = self.store.objects.get((resource, where.namespace or "", where.name))
        if found is None:
            return _refusal(404, "NotFound")
        if body["metadata"].get("resourceVersion") not in (None, found["metadata"]["resourceVersion"]):
            return _refusal(409, "Conflict")
        return web.json_response(self.put(resource, where.namespace or "", where.name, body))

    async def _patch(self, request: web.Request, resource: Resource, where: _Path, _: Fault | None) -> web.Response:
        if request.content_type != "application/merge-patch+json":
            return _refusal(415, "UnsupportedMediaType")
        found = self.store.objects.get((resource, where.namespace or "", where.name))
        if found is None:
            return _refusal(404, "NotFound")
        return web.json_response(
            self.put(resource, where.namespace or "", where.name, _merged(found, await request.json()))
        )

    async def _delete(self, request: web.Request, resource: Resource, where: _Path, _: Fault | None) -> web.Response:
        if (resource, where.namespace or "", where.name) not in self.store.objects:
            return _refusal(404, "NotFound")
        self.remove(resource, where.namespace or "", where.name)
        return web.json_response({"kind": "Status", "status": "Success"})

    _verbs: dict[str, Callable[..., Awaitable[web.StreamResponse]]] = {  # noqa: RUF012  a table, never changed
        "list": _list,
        "page": _list,
        "watch": _watch,
        "get": _get,
        "create": _create,
        "replace": _replace,
        "patch": _patch,
        "delete": _delete,
    }


@dataclass(eq=False)
class _Watch:
    """One watch; sends what the history holds after a version, and then what comes."""

    server: ApiServer
    request: web.Request
    response: web.StreamResponse
    resource: Resource
    where: _Path
    fault: Fault | None
    sent: int = 0

    async def run(self, after: int) -> None:
        bookmarks = self.server._bookmarks
        labels = self.request.query.get("labelSelector", "")
        while True:
            store, news = self.server.store, self.server._news
            if after < store.oldest:
                await self.response.write(EXPIRED.line + b"\n")
                return
            for kind, item in store.events(self.resource, self.where.namespace, labels, after):
                if await self._done(kind, item):
                    return
                await self._send(kind, item)
            after = store.version
            if self.server._bookmarks > bookmarks:
                bookmarks = self.server._bookmarks
                await self._send("BOOKMARK", {"metadata": {"resourceVersion": str(after)}})
            if await self._done(None, None):
                return
            if news is self.server._news:
                await news.wait()

    async def _send(self, kind: str, item: Object) -> None:
        await self.response.write(_line(kind, item))
        self.sent += kind != "BOOKMARK"

    async def _done(self, kind: str | None, item: Object | None) -> bool:
        """Whether the fault ends it here; the arguments are the event that would be next."""
        fault = self.fault
        if fault is None or isinstance(fault, (Refuse, Hang, Slow, Unheard)) or self.sent < fault.after:
            return False
        match fault:
            case Say():
                self.fault = None
                await self.response.write(fault.line + b"\n")
                return fault is EXPIRED
            case Stall():
                await asyncio.Event().wait()
            case Drop():
                if fault.half_line:
                    line = _line(kind or "ADDED", item or {"metadata": {"name": "never"}})
                    await self.response.write(line[: len(line) // 2])
                _abort(self.request.transport)
        return True


class _Path:
    """`/api/v1/...` or `/apis/GROUP/VERSION/...`, taken apart."""

    def __init__(self, path: str) -> None:
        root, *parts = (unquote(part) for part in path.strip("/").split("/"))
        self.group = parts.pop(0) if root == "apis" and parts else ""
        self.version = parts.pop(0) if parts else ""
        self.namespace = parts[1] if parts[:1] == ["namespaces"] and len(parts) > 2 else None
        parts = parts[2:] if self.namespace is not None else parts
        self.plural = parts[0] if parts else ""
        self.name = parts[1] if len(parts) > 1 else ""

    def is_of(self, resource: Resource) -> bool:
        return (self.group, self.version, self.plural) == (resource.group, resource.version, resource.plural)

    def verb(self, request: web.Request) -> str:
        if not self.plural:
            return "discover"
        if request.method == "GET" and not self.name:
            if request.query.get("watch"):
                return "watch"
            return "page" if request.query.get("continue") else "list"
        return {"GET": "get", "POST": "create", "PUT": "replace", "PATCH": "patch", "DELETE": "delete"}[request.method]


def _merged(old: Any, changes: Any) -> Any:
    """A merge patch (RFC 7396)."""
    if not isinstance(changes, dict):
        return changes
    new = dict(old) if isinstance(old, dict) else {}
    for name, value in changes.items():
        if value is None:
            new.pop(name, None)
        else:
            new[name] = _merged(new.get(name), value)
    return new


def _line(kind: str, item: Object) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def _refusal(status: int, reason: str, body: str | None = None) -> web.Response:
    if body is not None:
        return web.Response(status=status, text=body)
    said = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": f"{reason} it is"}
    return web.json_response(said, status=status)


def _too_large(asked: int, current: int) -> web.Response:
    said = {
        "kind": "Status",
        "status": "Failure",
        "code": 504,
        "reason": "Timeout",
        "message": f"Timeout: Too large resource version: {asked}, current: {current}",
        "details": {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
    }
    return web.json_response(said, status=504)


async def _slowly(request: web.Request, body: bytes, until: asyncio.Event) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    await until.wait()
    await response.write(body[len(body) // 2 :])
    return response


def _abort(transport: asyncio.BaseTransport | None) -> None:
    if isinstance(transport, asyncio.Transport):
        transport.abort()
