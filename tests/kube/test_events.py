"""Events on a real API server, where an operator looks for them: beside the object, by its uid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from epp.edge.kube.client import Kube, Resource
from epp.edge.kube.events import ObjectRef, Recorder
from tests.edge.until import until
from tests.kube import objects
from tests.kube.api import Api
from tests.kube.cluster import Cluster
from tests.kube.views import PODS, POOLS, connected

# What the chart gives, no more.
RIGHTS = [{"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}]
REWRITES = Resource("llm-d.ai", "v1alpha2", "inferencemodelrewrites", "InferenceModelRewrite")
Object = dict[str, Any]


@asynccontextmanager
async def recording(kube: Kube) -> AsyncIterator[Recorder]:
    made = Recorder(kube)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(made.run())
        yield made
        task.cancel()


async def about(admin: Api, namespace: str, item: Object) -> list[Object]:
    """The events that `kubectl describe` shows for an object."""
    selector = f"involvedObject.kind={item['kind']},involvedObject.name={item['metadata']['name']}"
    selector += f",involvedObject.namespace={namespace},involvedObject.uid={item['metadata']['uid']}"
    found = await admin.list(f"/api/v1/namespaces/{namespace}/events", fieldSelector=selector)
    items: list[Object] = found["items"]
    return items


async def written(admin: Api, namespace: str, item: Object, count: int = 1) -> Object:
    """The one event about it, when it was said so often."""
    async with asyncio.timeout(30):
        while True:
            events = await about(admin, namespace, item)
            assert len(events) <= 1
            if events and events[0]["count"] == count:
                return events[0]
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("resource", "item"),
    [
        (POOLS, objects.pool("p")),
        (PODS, objects.pod("p")),
        (REWRITES, objects.rewrite("p", "pool", "asked", "meant")),
        (PODS, objects.pod("p" * 253)),
    ],
    ids=["pool", "pod", "rewrite", "long-name"],
)
async def test_an_event_is_seen_on_its_object_and_counted_when_it_comes_again(
    admin: Api, kubeconfig: Callable[..., Path], namespace: str, resource: Resource, item: Object
) -> None:
    stored = await admin.create(item, namespace)
    await admin.account("ours", namespace, RIGHTS)
    ref = ObjectRef(resource, namespace, stored["metadata"]["name"], stored["metadata"]["uid"])
    async with connected(kubeconfig(await admin.token(namespace, "ours"))) as kube, recording(kube) as recorder:
        recorder.note(ref, "Conflict", "two of them claim the same")
        first = await written(admin, namespace, stored)
        recorder.note(ref, "Conflict", "two of them claim the same")
        recorder.note(ref, "Conflict", "two of them claim the same")
        again = await written(admin, namespace, stored, count=3)

    assert (first["type"], first["reason"], first["message"]) == ("Warning", "Conflict", "two of them claim the same")
    assert first["metadata"]["uid"] == again["metadata"]["uid"]
    assert first["source"]["component"] == "onehop"
    assert recorder.condition is None


async def test_an_event_that_the_server_forgot_is_made_again(admin: Api, kube: Kube, namespace: str) -> None:
    stored = await admin.create(objects.pool("p"), namespace)
    ref = ObjectRef(POOLS, namespace, "p", stored["metadata"]["uid"])
    async with recording(kube) as recorder:
        recorder.note(ref, "Conflict", "said")
        first = await written(admin, namespace, stored)
        await admin.delete({"apiVersion": "v1", "kind": "Event", "metadata": first["metadata"]}, namespace)
        recorder.note(ref, "Conflict", "said")

        assert (await written(admin, namespace, stored))["metadata"]["uid"] != first["metadata"]["uid"]


async def test_what_was_noted_while_the_server_was_away_is_written_when_it_is_back(
    cluster: Cluster, admin: Api, kube: Kube, namespace: str
) -> None:
    stored = await admin.create(objects.pool("p"), namespace)
    async with recording(kube) as recorder:
        cluster.kill_api()
        recorder.note(ObjectRef(POOLS, namespace, "p", stored["metadata"]["uid"]), "Conflict", "said")
        await until(lambda: recorder.condition)
        await cluster.start_api()

        await written(admin, namespace, stored)
        await until(lambda: recorder.condition is None)


async def test_without_the_right_there_is_a_condition_and_no_event(
    admin: Api, kubeconfig: Callable[..., Path], namespace: str
) -> None:
    stored = await admin.create(objects.pool("p"), namespace)
    await admin.account("ours", namespace, [])
    async with connected(kubeconfig(await admin.token(namespace, "ours"))) as kube, recording(kube) as recorder:
        recorder.note(ObjectRef(POOLS, namespace, "p", stored["metadata"]["uid"]), "Conflict", "said")
        await until(lambda: recorder.condition)

    assert "grant create and patch" in str(recorder.condition)
    assert recorder.dropped == 1
    assert await about(admin, namespace, stored) == []
