"""One Kubernetes API server, spoken to in plain JSON objects.

Must stay true: `ApiError` is the only exception for whatever the server or the network does; no answer is read beyond
its bound; a watch that falls silent ends. Objects are decoded one at a time, so that a caller who keeps only what it
needs never holds a whole page of them.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
import msgspec
from lightkube.core.exceptions import ConfigError as LightkubeError

from epp.edge.kube import config

PAGE_OBJECTS = 500
ERROR_BYTES_MAX = 1 << 20

_CONTENT = {"PATCH": "application/merge-patch+json"}
_TOO_LARGE = "ResourceVersionTooLarge"  # Kubernetes' word; the others are ours
BAD_ANSWER = "BadAnswer"
_NO_CONNECTION = "NoConnection"
_NO_CREDENTIALS = "NoCredentials"

Object = dict[str, Any]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Resource:
    """What kind of object; the core group is the empty string."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "") -> str:
        """Where the objects of that namespace are, or of all; or one of them."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts += [self.plural, name] if name else [self.plural]
        return "/".join(quote(part, safe="") for part in parts)

    def __str__(self) -> str:
        return f"{self.plural} ({self.api_version})"


class ApiError(Exception):
    """What the API server said instead of what was asked for; status 0 is no answer, or none that makes sense."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def is_away(self) -> bool:
        """Whether there was not even the head of an answer."""
        return self.reason in (_NO_CONNECTION, _NO_CREDENTIALS)

    @property
    def is_denied(self) -> bool:
        """Whether asking again soon is of no use: there is no such thing, or we may not see it."""
        return self.status in (403, 404)

    @property
    def is_expired(self) -> bool:
        """Whether the server cannot go on from the version we know, be it too old or, after a restore, too new."""
        return self.status == 410 or self.reason == _TOO_LARGE


@dataclass(frozen=True, slots=True)
class KubeLimits:
    """`request_s` is for a whole answer or one page; `watch_s` is how long the server is asked to keep a watch open,
    and `silence_s` how long a watch may say nothing: longer than that, since a server has nothing to say, not even in
    a bookmark, of objects that nobody touches."""

    connect_s: float = 5.0
    request_s: float = 60.0
    watch_s: float = 60.0
    silence_s: float = 75.0
    page_bytes_max: int = 256 << 20
    line_bytes_max: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Listing:
    """Every object of a list, and the version of the collection it shows."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; iterating decodes one object at a time."""

    raw: list[msgspec.Raw]
    resource_version: str

    def __iter__(self) -> Iterator[Object]:
        for item in self.raw:
            yield _decode(item, _OBJECT)


class Kube:
    """A connection to one API server. `namespace` is the one that our credentials come with, or `default`."""

    def __init__(self, http: httpx2.AsyncClient, namespace: str, limits: KubeLimits | None = None) -> None:
        self.namespace = namespace
        self.limits = limits or KubeLimits()
        self._http = http

    async def close(self) -> None:
        await self._http.aclose()

    async def list(
        self, resource: Resource, namespace: str | None, labels: str = "", *, limit: int = PAGE_OBJECTS
    ) -> Listing:
        """All objects, however many pages they take."""
        items: list[Object] = []
        version = ""
        async with aclosing(self.pages(resource, namespace, labels, limit=limit)) as pages:
            async for page in pages:
                items.extend(page)
                version = page.resource_version
        return Listing(items, version)

    async def pages(
        self, resource: Resource, namespace: str | None, labels: str = "", *, limit: int = PAGE_OBJECTS
    ) -> AsyncGenerator[Page]:
        """The objects page by page, all of the same version; 0 asks for one page of any length."""
        params = {"limit": str(limit), "labelSelector": labels}
        while True:
            answer = await self._request("GET", resource.path(namespace), params=params)
            page = _decode(answer, _PAGE)
            if not page.metadata.resource_version:
                raise ApiError(0, BAD_ANSWER, "a list without a resourceVersion")
            yield Page(page.items or [], page.metadata.resource_version)
            if not page.metadata.token:
                return
            params["continue"] = page.metadata.token

    async def watch(
        self, resource: Resource, namespace: str | None, labels: str, resource_version: str
    ) -> AsyncGenerator[tuple[str, Object]]:
        """OPENED, then ADDED, MODIFIED, DELETED and BOOKMARK with their objects, until the server ends it.

        These are the changes after that version. An ERROR event is raised as `ApiError`. Close the iterator
        (`aclosing`) to close the connection.
        """
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": labels,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(self.limits.watch_s))),
        }
        async with self._open("GET", resource.path(namespace), params=params, read_s=self.limits.silence_s) as response:
            yield "OPENED", {}
            async for line in lines(response.aiter_raw(), self.limits.line_bytes_max):
                event = _decode(line, _EVENT)
                if event.type == "ERROR":
                    raise _refusal(0, event.object)
                yield event.type, _decode(event.object, _OBJECT)

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return _decode(await self._request("GET", resource.path(namespace, name)), _OBJECT)

    async def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        return _decode(await self._request("POST", resource.path(namespace), body=body), _OBJECT)

    async def replace(self, resource: Resource, namespace: str | None, name: str, body: Object) -> Object:
        """409 where the object has changed since the `resourceVersion` in `body`."""
        return _decode(await self._request("PUT", resource.path(namespace, name), body=body), _OBJECT)

    async def patch(self, resource: Resource, namespace: str | None, name: str, changes: Object) -> Object:
        """Replace these members and leave the others as they are (a merge patch)."""
        return _decode(await self._request("PATCH", resource.path(namespace, name), body=changes), _OBJECT)

    async def delete(self, resource: Resource, namespace: str | None, name: str) -> None:
        await self._request("DELETE", resource.path(namespace, name))

    async def versions(self, group: str) -> dict[str, set[str]]:
        """Version -> the plurals it has; empty when the server has no such group."""
        try:
            found = _decode(await self._request("GET", f"apis/{quote(group, safe='')}"), _GROUP)
        except ApiError as error:
            if error.status == 404:
                return {}
            raise
        return {v.version: await self._plurals(v.group_version) for v in found.versions}

    async def _plurals(self, group_version: str) -> set[str]:
        found = _decode(await self._request("GET", f"apis/{quote(group_version)}"), _RESOURCES)
        return {resource.name for resource in found.resources if "/" not in resource.name}

    async def _request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Object | None = None
    ) -> bytes:
        try:
            async with (
                asyncio.timeout(self.limits.request_s),
                self._open(method, path, params=params, body=body, read_s=self.limits.request_s) as response,
            ):
                return await _body(response, self.limits.page_bytes_max)
        except TimeoutError as error:
            raise ApiError(0, "Timeout", f"no whole answer in {self.limits.request_s:g} s") from error

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        *,
        read_s: float,
        params: Mapping[str, str] | None = None,
        body: Object | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """The head of a 2xx answer. What breaks while the caller reads the rest is told as `ApiError` as well."""
        response = await self._send(method, path, read_s, params, body)
        try:
            if not response.is_success:
                raise _refusal(response.status_code, await _body(response, ERROR_BYTES_MAX))
            yield response
        except httpx2.TimeoutException as error:
            raise ApiError(0, "Timeout", f"nothing heard for {read_s:g} s") from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise ApiError(0, "ConnectionLost", _words(error)) from error
        finally:
            await response.aclose()

    async def _send(
        self, method: str, path: str, read_s: float, params: Mapping[str, str] | None, body: Object | None
    ) -> httpx2.Response:
        timeout = httpx2.Timeout(self.limits.request_s, connect=self.limits.connect_s, read=read_s, pool=None)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "onehop"}
        content = None
        if body is not None:
            content, headers["Content-Type"] = msgspec.json.encode(body), _CONTENT.get(method, "application/json")
        try:
            request = self._http.build_request(
                method, path, params=params, content=content, headers=headers, timeout=timeout
            )
            return await _undisturbed(self._http.send(request, stream=True))
        except httpx2.HTTPError as error:
            raise ApiError(0, _NO_CONNECTION, _words(error)) from error
        # A credential plugin or token file is read when a request needs it: its troubles turn up here.
        except (LightkubeError, OSError, KeyError, ValueError, TypeError) as error:
            raise ApiError(0, _NO_CREDENTIALS, f"{type(error).__name__}: {error}") from error


async def _undisturbed(sending: Coroutine[Any, Any, httpx2.Response]) -> httpx2.Response:
    """Its answer. If we are cancelled it goes on to its own end, within the timeouts it has, and is closed then.

    A cancelled TLS handshake would leave its socket open, as httpcore2 closes it after an `Exception` only.
    """
    task = asyncio.ensure_future(sending)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _keep(asyncio.ensure_future(_close(task)))
        raise


async def _close(sending: asyncio.Future[httpx2.Response]) -> None:
    with suppress(Exception):
        await (await sending).aclose()


_KEPT: set[asyncio.Future[None]] = set()  # the loop itself keeps tasks only weakly


def _keep(task: asyncio.Future[None]) -> None:
    _KEPT.add(task)
    task.add_done_callback(_KEPT.discard)


def connect(kubeconfig: Path | None, limits: KubeLimits | None = None) -> Kube:
    """A connection to try, by the file if one is named, else as a pod, else as kubectl would; or `ConfigError`."""
    found = config.load(kubeconfig)
    return Kube(config.client(found), found.namespace, limits)


class _ListMeta(msgspec.Struct):
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    token: str = msgspec.field(default="", name="continue")


class _PageBody(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _EventBody(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Version(msgspec.Struct):
    version: str
    group_version: str = msgspec.field(name="groupVersion")


class _GroupBody(msgspec.Struct):
    versions: list[_Version]


class _Name(msgspec.Struct):
    name: str


class _ResourcesBody(msgspec.Struct):
    resources: list[_Name]


class _Cause(msgspec.Struct):
    reason: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] | None = None


class _StatusBody(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


_OBJECT = msgspec.json.Decoder(Object)
_PAGE = msgspec.json.Decoder(_PageBody)
_EVENT = msgspec.json.Decoder(_EventBody)
_GROUP = msgspec.json.Decoder(_GroupBody)
_RESOURCES = msgspec.json.Decoder(_ResourcesBody)
_STATUS = msgspec.json.Decoder(_StatusBody)


def _decode(data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[_T]) -> _T:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ApiError(0, BAD_ANSWER, f"not what an API server says: {error}") from error


def _refusal(status: int, body: bytes | msgspec.Raw) -> ApiError:
    """The server's own words where it has some; a proxy in between may answer with a page of its own."""
    try:
        said = _STATUS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ApiError(status, "Error", bytes(body)[:200].decode(errors="replace").strip())
    reason = said.reason or "Error"
    if said.details and any(cause.reason == _TOO_LARGE for cause in said.details.causes or ()):
        reason = _TOO_LARGE
    return ApiError(status or said.code, reason, said.message)


async def _body(response: httpx2.Response, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_raw():
        parts.append(part)
        size += len(part)
        if size > bytes_max:
            raise ApiError(0, "TooLarge", f"the answer is larger than {bytes_max} bytes")
    return b"".join(parts)


async def lines(chunks: AsyncIterator[bytes], bytes_max: int) -> AsyncIterator[bytes]:
    """Whole lines only: what follows the last newline was cut off, and comes again after a reconnect."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        first, *more = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > bytes_max:
            raise ApiError(0, "TooLarge", f"a watch event is larger than {bytes_max} bytes")
        if more:
            yield b"".join(parts)
            for line in more[:-1]:
                yield line
            parts = [more[-1]]
            size = len(more[-1])


def _words(error: BaseException) -> str:
    """What the system says of a failed connection, which the layers above it call a failed connection."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno and not isinstance(cause, ssl.SSLError):
            return os.strerror(cause.errno).lower() if cause.errno > 0 else str(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
