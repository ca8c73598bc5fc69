"""The fleet against what a real API server holds: the right endpoints in the right pools, whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from epp.datastore.fleet import Fleet
from epp.datastore.membership import Naming
from epp.datastore.selectors import Selector
from epp.edge import cluster as discovery
from epp.edge.kube.client import Kube
from epp.edge.wanted import Wanted
from tests.edge.until import until
from tests.kube import objects
from tests.kube.api import Api, Said
from tests.kube.cluster import Cluster
from tests.kube.storm import Storm
from tests.kube.views import CONVERGED_SECONDS_MAX

Object = dict[str, Any]
POOL_GROUP = "inference.networking.k8s.io"
OLD_GROUP = "inference.networking.x-k8s.io"


@asynccontextmanager
async def discovering(kube: Kube, wanted: Wanted, fleet: Fleet) -> AsyncIterator[discovery.Cluster]:
    """Discovery, for as long as the block runs."""
    made = discovery.Cluster(kube, fleet, wanted, Naming())
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(made.run())
        yield made
        task.cancel()


async def converges(admin: Api, fleet: Fleet, namespace: str) -> None:
    """Returns when the endpoints of each pool are those that follow from the objects on the server."""
    pools = f"/apis/inference.networking.k8s.io/v1/namespaces/{namespace}/inferencepools"
    pods = f"/api/v1/namespaces/{namespace}/pods"
    try:
        async with asyncio.timeout(CONVERGED_SECONDS_MAX):
            while True:
                found = (await admin.list(pods))["items"]
                expected = {
                    f"{namespace}/{pool['metadata']['name']}": addresses(pool, found)
                    for pool in (await admin.list(pools))["items"]
                }
                if shown(fleet) == {key: value for key, value in expected.items() if value}:
                    break
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"expected {expected}, found {shown(fleet)}")
    assert {e.address for e in fleet.all.endpoints} == set().union(*expected.values())


def shown(fleet: Fleet) -> dict[str, set[str]]:
    """The addresses of every pool that has some."""
    return {key: {e.address for e in pool.endpoints} for key, pool in fleet.pools.items() if pool.endpoints}


def addresses(pool: Object, pods: list[Object]) -> set[str]:
    """What a gateway may be sent to for this pool."""
    wanted = pool["spec"]["selector"]["matchLabels"].items()
    return {
        f"{pod['status']['podIP']}:{port['number']}"
        for pod in pods
        if wanted <= pod["metadata"].get("labels", {}).items() and serves(pod)
        for port in pool["spec"]["targetPorts"]
    }


def serves(pod: Object) -> bool:
    """Ready, at some address, and not on its way out."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    leaving = "deletionTimestamp" in pod["metadata"]
    return conditions.get("Ready") == "True" and "podIP" in pod["status"] and not leaving


@pytest.mark.parametrize("seed", range(3))
async def test_after_storms_every_pool_has_the_endpoints_that_its_objects_say(
    cluster: Cluster, admin: Api, kube: Kube, namespace: str, seed: int
) -> None:
    storm = Storm(admin, namespace, seed, names=60)
    await storm.rage(150)
    fleet = Fleet()
    wanted = Wanted(namespace, named=frozenset(f"{namespace}/{name}" for name in storm.pools))
    async with discovering(kube, wanted, fleet):
        for _ in range(2):
            await storm.rage(250)
            await converges(admin, fleet, namespace)
        raging = asyncio.create_task(storm.rage(400))
        await asyncio.wait([raging], timeout=storm.chance.uniform(0.1, 0.5))
        cluster.kill_api()
        await cluster.forget_history()
        await cluster.start_api()
        await raging
        await converges(admin, fleet, namespace)


async def test_endpoints_and_what_they_owe_outlive_a_server_that_forgot_everything_we_knew(
    cluster: Cluster, admin: Api, kube: Kube, namespace: str
) -> None:
    await admin.create(objects.pool("p", 8000, 8001), namespace)
    for n in range(3):
        await admin.create(objects.pod(f"p-{n}", app="p"), namespace)
        await admin.patch(objects.pod(f"p-{n}"), objects.running(f"10.0.0.{n}"), namespace, "status")
    fleet = Fleet()
    async with discovering(kube, Wanted(namespace, named=frozenset({f"{namespace}/p"})), fleet) as found:
        await converges(admin, fleet, namespace)
        await until(lambda: found.ready)
        before = {e.address: e for e in fleet.all.endpoints}
        lease = fleet.all.lease(before["10.0.0.0:8000"], 100)
        cluster.kill_api()
        await cluster.forget_history()
        assert {e.address: e for e in fleet.all.endpoints} == before
        await cluster.start_api()
        await admin.delete(objects.pod("p-2"), namespace)
        await converges(admin, fleet, namespace)

        after = {e.address: e for e in fleet.all.endpoints}
        assert len(after) == 4
        assert all(before[address] is endpoint for address, endpoint in after.items())
        assert after["10.0.0.0:8000"].inflight_requests == 1
        lease.close()
        assert after["10.0.0.0:8000"].inflight_requests == 0


async def test_pools_of_the_old_version_are_followed_where_that_is_what_is_asked_for(
    admin: Api, kube: Kube, namespace: str
) -> None:
    await admin.create(objects.old_pool("p", 8000), namespace)
    await admin.create(objects.pod("p-0", app="p"), namespace)
    await admin.patch(objects.pod("p-0"), objects.running("10.0.0.1"), namespace, "status")
    fleet = Fleet()
    wanted = Wanted(namespace, OLD_GROUP, frozenset({f"{namespace}/p"}))
    async with discovering(kube, wanted, fleet):
        await until(lambda: shown(fleet) == {f"{namespace}/p": {"10.0.0.1:8000"}})


async def test_definitions_that_come_after_us_are_used(assets: Path, admin: Api, kube: Kube, namespace: str) -> None:
    """As when everything is installed at once, or the gateway's part of a cluster after ours."""
    files = [f"inferencepools.{POOL_GROUP}.json", "inferenceobjectives.llm-d.ai.json"]
    late = [json.loads((assets / "crds" / file).read_text()) for file in files]
    for definition in late:
        await admin.delete(definition)
    await gone(admin, late)
    fleet = Fleet()
    try:
        async with discovering(kube, Wanted(namespace, named=frozenset({f"{namespace}/p"})), fleet) as found:
            await until(lambda: found.conditions()["discovery"]() is None)
            await admin.define(late)
            await admin.create(objects.pool("p"), namespace)
            await admin.create(objects.objective("urgent", 7, "p"), namespace)
            await admin.create(objects.pod("p-0", app="p"), namespace)
            await admin.patch(objects.pod("p-0"), objects.running("10.0.0.1"), namespace, "status")
            await converges(admin, fleet, namespace)

            async with asyncio.timeout(CONVERGED_SECONDS_MAX):
                while fleet.pool(f"{namespace}/p").policies.priority("urgent") != 7:
                    await asyncio.sleep(0.1)
    finally:
        await admin.define(late)


async def gone(admin: Api, definitions: list[Object]) -> None:
    """Returns when nobody can use these definitions any more."""
    for definition in definitions:
        path = f"/apis/{definition['spec']['group']}/{definition['spec']['versions'][0]['name']}"
        async with asyncio.timeout(60):
            while definition["spec"]["names"]["plural"] in await served(admin, path):
                await asyncio.sleep(0.1)


async def served(admin: Api, path: str) -> set[str]:
    """The plurals of a version."""
    try:
        return {resource["name"] for resource in (await admin.list(path))["resources"]}
    except Said:
        return set()


async def test_objectives_and_rewrites_take_effect_change_and_go(admin: Api, kube: Kube, namespace: str) -> None:
    urgent, renamed = objects.objective("urgent", 7, "p"), objects.rewrite("renamed", "p", "asked", "meant")
    await admin.create(objects.pool("p"), namespace)
    await admin.create(urgent, namespace)
    await admin.create(renamed, namespace)
    fleet = Fleet()

    def asked() -> tuple[int, str | None]:
        policies = fleet.pool(f"{namespace}/p").policies
        rewritten = policies.rewrite("asked", Random(0))
        return policies.priority("urgent"), rewritten and rewritten.model

    async with discovering(kube, Wanted(namespace, named=frozenset({f"{namespace}/p"})), fleet) as found:
        await until(lambda: asked() == (7, "meant"))
        await admin.patch(urgent, {"spec": {"priority": -1}}, namespace)
        await admin.patch(renamed, objects.rewrite("renamed", "p", "asked", "better"), namespace)
        await until(lambda: asked() == (-1, "better"))
        await admin.create(objects.objective("urgent", 9, "p", OLD_GROUP), namespace)  # the newer group counts
        await admin.delete(urgent, namespace)
        await admin.delete(renamed, namespace)
        await until(lambda: asked() == (0, None))

        conditions = {name: said() for name, said in found.conditions().items()}
        assert not any(conditions[kind] for kind in ("discovery", "inferenceobjectives", "inferencemodelrewrites"))


async def test_pods_alone_are_enough_where_nobody_wants_pools(admin: Api, kube: Kube, namespace: str) -> None:
    for n, app in enumerate("aab"):
        await admin.create(objects.pod(f"p-{n}", app=app), namespace)
        await admin.patch(objects.pod(f"p-{n}"), objects.running(f"10.0.0.{n}"), namespace, "status")
    fleet = Fleet()
    async with discovering(kube, Wanted(namespace, pods=(Selector.of({"app": "a"}), (8000, 8001))), fleet) as found:
        await until(lambda: found.ready)

        assert {e.address for e in fleet.all.endpoints} == {
            f"10.0.0.{n}:{port}" for n in range(2) for port in (8000, 8001)
        }
