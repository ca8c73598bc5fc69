"""An informer of small values against the fake API server, with what it told along the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from epp.edge.kube.client import Kube, KubeLimits, Resource
from epp.edge.kube.course import Pauses
from epp.edge.kube.informer import Informer, Key
from tests.edge.until import until
from tests.kubeapi.server import ApiServer

PODS = Resource("", "v1", "pods", "Pod")
QUICK = Pauses(first_s=0.001, longest_s=0.01, denied_s=0.01, proven_s=1000.0)


class BadObject(Exception):
    """As the caller's decoder raises it."""


@dataclass(frozen=True)
class Value:
    """What the caller keeps of an object."""

    spec: object


def decode(item: dict[str, Any]) -> Value:
    if item.get("spec") == "bad":
        raise BadObject("spec: nobody understands this")
    return Value(item.get("spec"))


@dataclass
class View:
    """`told` is what `on_change` was called with, `known` what a caller makes of nothing but that."""

    kube: Kube
    informer: Informer[Value] = field(init=False)
    told: list[tuple[Key, Value | None, Value | None]] = field(default_factory=list)
    known: dict[Key, Value] = field(default_factory=dict)
    synced: int = 0

    def change(self, key: Key, old: Value | None, new: Value | None) -> None:
        assert self.known.get(key) == old != new, "each change starts where the one before ended, and is one"
        assert self.informer.objects.get(key) == new, "the view has what it tells"
        self.told.append((key, old, new))
        if new is None:
            del self.known[key]
        else:
            self.known[key] = new

    def on_synced(self) -> None:
        self.synced += 1

    def equals(self, api: ApiServer, labels: str = "", namespace: str | None = "llm") -> bool:
        """Whether the view is exactly what the server has and can be understood."""
        items = api.store.select(self.informer.resource, namespace, labels)
        keys = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in items}
        good = {key: Value(item.get("spec")) for key, item in keys.items() if item.get("spec") != "bad"}
        return (
            good == self.informer.objects == self.known and self.informer.left_out.keys() == keys.keys() - good.keys()
        )


@asynccontextmanager
async def following(
    api: ApiServer,
    resource: Resource = PODS,
    *,
    labels: str = "",
    pauses: Pauses = QUICK,
    limits: KubeLimits | None = None,
    wait: bool = True,
) -> AsyncIterator[View]:
    """An informer at work; settled and watching unless told otherwise."""
    kube = api.connect(limits or KubeLimits(connect_s=1.0, request_s=10.0, silence_s=10.0))
    view = View(kube)
    view.informer = Informer(
        kube,
        resource,
        "llm",
        decode,
        bad=BadObject,
        labels=labels,
        on_change=view.change,
        on_synced=view.on_synced,
        pauses=pauses,
        rng=Random(1),
    )
    task = asyncio.create_task(view.informer.run())
    try:
        if wait:
            await until(lambda: task.done() or (view.informer.synced and api.watching))
        yield view
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await kube.close()
