"""An informer under test, held against what the API server says when it is asked directly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from epp.edge.kube.client import ApiError, Kube, KubeLimits, Page, Resource, connect
from epp.edge.kube.course import Pauses
from epp.edge.kube.informer import Informer, Key
from tests.kube.api import Api

PODS = Resource("", "v1", "pods", "Pod")
POOLS = Resource("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
CONVERGED_SECONDS_MAX = 120.0
SOON = Pauses(first_s=0.02, longest_s=0.5, denied_s=0.5, proven_s=0.5)
Version = tuple[str, str]
Object = dict[str, Any]


class Recording:
    """Our client, and what became of its lists and watches."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.lists = 0
        self.failures: list[ApiError] = []

    def pages(self, *words: Any, **named: Any) -> AsyncGenerator[Page]:
        self.lists += 1
        return self._kube.pages(*words, **named)

    async def watch(self, *words: Any) -> AsyncGenerator[tuple[str, Object]]:
        try:
            async with aclosing(self._kube.watch(*words)) as events:
                async for event in events:
                    yield event
        except ApiError as error:
            self.failures.append(error)
            raise

    @property
    def expired(self) -> bool:
        """Whether a version to watch from had been forgotten."""
        return any(error.is_expired for error in self.failures)


class View:
    """An informer of the exact versions of objects, and the view that results from what it told."""

    def __init__(self, kube: Kube, resource: Resource, namespace: str, labels: str = "") -> None:
        self.kube = Recording(kube)
        self.told: dict[Key, Version] = {}
        self.informer: Informer[Version] = Informer(
            self.kube,  # type: ignore[arg-type]
            resource,
            namespace,
            version_of,
            bad=ValueError,
            labels=labels,
            on_change=self._changed,
            pauses=SOON,
            rng=Random(0),
        )
        self._path = "/" + resource.path(namespace)
        self._labels = labels

    def _changed(self, key: Key, old: Version | None, new: Version | None) -> None:
        assert self.told.get(key) == old != new
        if new is None:
            del self.told[key]
        else:
            self.told[key] = new

    async def converges(self, admin: Api) -> None:
        """Returns when it shows what the server has."""
        try:
            async with asyncio.timeout(CONVERGED_SECONDS_MAX):
                while self.informer.objects != (server := await self._server(admin)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            differ = set(self.informer.objects.items()) ^ set(server.items())
            pytest.fail(f"{len(differ)} objects differ, such as {sorted(differ)[:4]}; {self.informer.condition}")
        assert self.told == self.informer.objects
        assert self.informer.synced

    async def _server(self, admin: Api) -> dict[Key, Version]:
        listed = await admin.list(self._path, labelSelector=self._labels)
        return {(item["metadata"]["namespace"], item["metadata"]["name"]): version_of(item) for item in listed["items"]}


def version_of(item: Object) -> Version:
    """Which object, and which version of it: two that are equal here are equal in everything."""
    return item["metadata"]["uid"], item["metadata"]["resourceVersion"]


@asynccontextmanager
async def following(*views: View) -> AsyncIterator[None]:
    """The informers run, and any that ends fails the test."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(view.informer.run()) for view in views]
        yield
        for task in running:
            task.cancel()


@asynccontextmanager
async def connected(kubeconfig: Path, limits: KubeLimits | None = None) -> AsyncIterator[Kube]:
    """Our client, closed in the end."""
    kube = connect(kubeconfig, limits)
    try:
        yield kube
    finally:
        await kube.close()
