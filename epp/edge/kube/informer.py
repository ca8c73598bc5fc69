"""A local view of one kind of object that follows the API server: list -> watch -> reconnect, until cancelled.

Must stay true: `objects` changes only to what the server said, and each change is told exactly once; an object whose
value is unchanged stays the same object, through relists too; a list that breaks off changes nothing; whatever the
server does, `run` goes on, and `condition` says what is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing
from random import Random
from typing import Generic, TypeVar

from epp.edge.kube.client import BAD_ANSWER, ApiError, Kube, Object, Resource
from epp.edge.kube.course import Course, Pauses

log = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace, name
T = TypeVar("T")

READ_AT_ONCE_MAX = 50
LEFT_OUT_SHOWN_MAX = 3


class Informer(Generic[T]):
    """Objects of `resource` in `namespace` (None: in all) with these `labels`, as `decode` makes them of JSON.

    An object for which `decode` raises `bad` is left out and shown in the condition. `on_change(key, old, new)` is
    called for each true change, None standing for absent, and then once `on_synced`. What one list changed is told
    without an await in between, when `objects` holds all of it.
    `available` is None until the server has answered, and False while it says that we get none of these: the resource
    is unknown, or we may not list it. What was known then stays known. That an `optional` resource is unknown is no
    trouble.
    """

    def __init__(
        self,
        kube: Kube,
        resource: Resource,
        namespace: str | None,
        decode: Callable[[Object], T],
        *,
        bad: type[Exception],
        labels: str = "",
        optional: bool = False,
        on_change: Callable[[Key, T | None, T | None], None] = lambda key, old, new: None,
        on_synced: Callable[[], None] = lambda: None,
        pauses: Pauses | None = None,
        rng: Random | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kube = kube
        self.resource = resource
        self.namespace = namespace
        self.labels = labels
        self.optional = optional
        self.decode = decode
        self.bad = bad
        self.on_change = on_change
        self.on_synced = on_synced
        self.now = now
        self.objects: dict[Key, T] = {}
        self.left_out: dict[Key, str] = {}
        self.uids_left_out: dict[Key, str] = {}
        self.synced = False
        self.available: bool | None = None
        self.absent = False  # the server does not know the resource
        self._trouble: str | None = None
        self._course = Course(rng or Random(), pauses or Pauses())

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for: the objects are known, or the server says that we get none."""
        return self.synced or self.available is False

    @property
    def condition(self) -> str | None:
        """What an operator has to know or do; None while all is well."""
        return "; ".join(filter(None, (self._trouble, _in_words(self.resource, self.left_out)))) or None

    async def run(self) -> None:
        """Follow the server until cancelled."""
        while True:
            version = self._course.version
            pause = await (self._list() if version is None else self._watch(version))
            await asyncio.sleep(pause)

    async def _list(self) -> float:
        """Learn all there is, and tell what is different; the pause after it."""
        try:
            version, objects, left_out = await self._listed()
        except ApiError as error:
            self._failed(error)
            self.available = False if error.is_denied else self.available
            self.absent = error.status == 404
            return self._course.list_failed(error)
        self._course.listed(version)
        self._replace(objects, left_out)
        return 0.0

    async def _listed(self) -> tuple[str, dict[Key, T], dict[Key, str]]:
        """Every page of a list, read with room for others: a large page takes many milliseconds."""
        version = ""
        objects: dict[Key, T] = {}
        left_out: dict[Key, str] = {}
        pages = self.kube.pages(self.resource, self.namespace, self.labels, limit=self._course.page_objects)
        async with aclosing(pages):
            async for page in pages:
                version = page.resource_version
                for number, item in enumerate(page):
                    self._read(item, objects, left_out)
                    if number % READ_AT_ONCE_MAX == 0:
                        await asyncio.sleep(0)
        return version, objects, left_out

    async def _watch(self, version: str) -> float:
        """Take each change as it comes; the pause after it."""
        began = self.now()
        try:
            async with aclosing(self.kube.watch(self.resource, self.namespace, self.labels, version)) as events:
                async for kind, item in events:
                    if kind == "OPENED":
                        self._trouble = None
                    else:
                        self._event(kind, item)
        except ApiError as error:
            pause = self._course.watch_failed(error)
            if self._course.troubles > 1 or error.is_denied:
                self._failed(error)
            return pause
        return self._course.watch_ended(self.now() - began)

    def _event(self, kind: str, item: Object) -> None:
        version = _text(item, "resourceVersion")
        if kind in ("ADDED", "MODIFIED"):
            key = _key(item)
            objects: dict[Key, T] = {}
            self.left_out.pop(key, None)
            self._read(item, objects, self.left_out)
            self._tell([(key, objects.get(key))])
        elif kind == "DELETED":
            key = _key(item)
            self.left_out.pop(key, None)
            self._tell([(key, None)])
        self._course.heard(version)

    def _read(self, item: Object, objects: dict[Key, T], left_out: dict[Key, str]) -> None:
        key = _key(item)
        try:
            objects[key] = self.decode(item)
        except self.bad as mistake:
            left_out[key] = str(mistake)
            self.uids_left_out[key] = _text(item, "uid", "")

    def _replace(self, objects: dict[Key, T], left_out: dict[Key, str]) -> None:
        gone: list[tuple[Key, T | None]] = [(key, None) for key in self.objects.keys() - objects.keys()]
        self.left_out = left_out
        self.uids_left_out = {key: uid for key, uid in self.uids_left_out.items() if key in left_out}
        self.available = True
        self.absent = False
        self._tell([*gone, *objects.items()])
        if not self.synced:
            self.synced = True
            self.on_synced()

    def _tell(self, values: list[tuple[Key, T | None]]) -> None:
        """Take these values, None for absent, and then tell of those that differ from what was known."""
        changes = []
        for key, new in values:
            old = self.objects.get(key)
            if old == new:
                continue
            changes.append((key, old, new))
            if new is None:
                del self.objects[key]
            else:
                self.objects[key] = new
        for key, old, new in changes:
            self.on_change(key, old, new)

    def _failed(self, error: ApiError) -> None:
        trouble = _advice(error, self.resource, self.namespace, len(self.objects))
        if trouble != self._trouble:
            self._trouble = trouble
            log.log(logging.INFO if error.status == 404 and self.optional else logging.WARNING, "%s", trouble)


def _advice(error: ApiError, resource: Resource, namespace: str | None, known: int) -> str:
    where = "in all namespaces" if namespace is None else f"in namespace {namespace}"
    if error.status == 404:
        return f"the cluster has no {resource}: install the CRD to use them"
    if error.status == 403:
        return f"we may not read {resource} {where}: grant list and watch on them ({error.message})"
    if error.status == 401:
        return f"the API server does not accept our credentials, so {resource} {where} stay as they are: {known} known"
    return f"{resource} {where} cannot be followed, the {known} known stay in use: {error}"


def _in_words(resource: Resource, left_out: dict[Key, str]) -> str | None:
    if not left_out:
        return None
    first = sorted(left_out.items())[:LEFT_OUT_SHOWN_MAX]
    shown = ", ".join(f"{namespace}/{name}: {why}" for (namespace, name), why in first)
    return f"{len(left_out)} of {resource} left out, as they cannot be understood: {shown}"


def _key(item: Object) -> Key:
    return _text(item, "namespace", ""), _text(item, "name")


def _text(item: Object, name: str, default: str | None = None) -> str:
    """A member of the object's metadata that every object has, or `ApiError`."""
    metadata = item.get("metadata")
    value = metadata.get(name, default) if isinstance(metadata, dict) else None
    if not isinstance(value, str):
        raise ApiError(0, BAD_ANSWER, f"an object without metadata.{name}")
    return value
