"""OneHop as the chart installs it, on a real API server: its flags, its account, its rights, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from epp.datastore.fleet import Fleet
from epp.kubernetes import Kubernetes
from epp.settings import parse
from tests.edge.until import until
from tests.kube import api, objects
from tests.kube.api import Api, Said
from tests.kube.cluster import Cluster
from tests.kube.test_manifests import VALUES, make_namespaces, render, shown

RUNS = {"ServiceAccount", "Role", "RoleBinding", "InferencePool"}  # the rest is for gateways and for controllers
Object = dict[str, Any]


@dataclass
class Installed:
    """One Deployment of the chart, run here."""

    kubernetes: Kubernetes
    fleet: Fleet
    token: str
    told: dict[str, bool] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return all(self.told.get(name, False) for name in self.kubernetes.requires)

    @property
    def troubles(self) -> dict[str, Any]:
        return {name: said() for name, said in self.kubernetes.conditions.items() if said()}


@asynccontextmanager
async def running(cluster: Cluster, admin: Api, deployment: Object, file: Path) -> AsyncIterator[Installed]:
    """What its pod would do with the API server, as whom its pod would do it."""
    namespace, pod = deployment["metadata"]["namespace"], deployment["spec"]["template"]["spec"]
    (container,) = [each for each in pod["containers"] if each["args"][:1] == ["serve"]]
    token = await admin.token(namespace, pod["serviceAccountName"])
    kubeconfig = cluster.kubeconfig(file, namespace=namespace, token=token)
    fleet = Fleet()
    made = Installed(Kubernetes(parse([*container["args"][1:], f"--kubeconfig={kubeconfig}"]), fleet), fleet, token)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(made.kubernetes.run(made.told.__setitem__, lambda name, leading: None))
        yield made
        await made.kubernetes.step_down()
        task.cancel()


@pytest.fixture(params=VALUES, ids=shown)
def rendered(request: pytest.FixtureRequest, assets: Path, namespace: str) -> list[Object]:
    """The objects of the chart, with each of its example values."""
    return list(render(assets, request.param, namespace))


async def test_what_the_chart_installs_has_the_rights_it_needs_and_no_others(
    rendered: list[Object], cluster: Cluster, admin: Api, namespace: str, tmp_path: Path
) -> None:
    await make_namespaces(admin, rendered)
    for item in rendered:
        if item["kind"] in RUNS:
            await admin.apply(item, namespace)
    deployments = [item for item in rendered if item["kind"] == "Deployment"]
    async with AsyncExitStack() as running_all:
        for number, deployment in enumerate(deployments):
            installed = await running_all.enter_async_context(
                running(cluster, admin, deployment, tmp_path / f"kubeconfig-{number}")
            )
            expected = await populate(admin, deployment, number)

            await until(lambda made=installed: made.ready)
            await until(lambda made=installed, wanted=expected: wanted <= {e.address for e in made.fleet.all.endpoints})
            assert installed.troubles == {}
            await refused_the_rest(cluster, installed.token, deployment["metadata"]["namespace"])


async def populate(admin: Api, deployment: Object, number: int) -> set[str]:
    """A ready pod for every pool that the Deployment serves, and the pool where the chart leaves it to others."""
    pod = deployment["spec"]["template"]["spec"]
    (words,) = [each["args"] for each in pod["containers"] if each["args"][:1] == ["serve"]]
    settings = parse(words[1:])
    home = settings.pool_namespace or deployment["metadata"]["namespace"]
    names = [(pool.namespace or home, pool.name) for pool in settings.pool]
    names += [(home, settings.pool_name)] if settings.pool_name else []
    labels = [(space, await selector(admin, space, name)) for space, name in names]
    if settings.endpoint_selector:
        labels.append((home, dict(pair.split("=") for pair in settings.endpoint_selector.split(","))))
    expected = set()
    for index, (space, wanted) in enumerate(labels):
        item = objects.pod(f"model-server-{number}-{index}-{home}", **wanted)
        address = f"10.{number}.{index}.1"
        await admin.apply(item, space)
        await admin.patch(item, objects.running(address), space, "status")
        expected.add(address)
    assert expected
    return {f"{address}:8000" for address in expected}


async def selector(admin: Api, namespace: str, name: str) -> dict[str, str]:
    """The labels of a pool's pods."""
    pool = objects.pool(name)
    try:
        found = await admin.get(pool, namespace)
    except Said:
        found = await admin.create(pool, namespace)
    labels: dict[str, str] = found["spec"]["selector"]["matchLabels"]
    return labels


async def refused_the_rest(cluster: Cluster, token: str, namespace: str) -> None:
    """What nobody who picks endpoints has any business with."""
    inside = f"/api/v1/namespaces/{namespace}"
    async with api.bearer(cluster, token) as account:
        for method, path in (
            ("GET", f"{inside}/secrets"),
            ("GET", f"{inside}/configmaps"),
            ("DELETE", f"{inside}/pods/any"),
            ("GET", "/api/v1/pods"),
            ("GET", "/api/v1/nodes"),
            ("GET", "/api/v1/namespaces/kube-system/pods"),
            ("GET", f"{inside}/events"),
            ("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
            ("DELETE", f"/apis/inference.networking.k8s.io/v1/namespaces/{namespace}/inferencepools/any"),
        ):
            with pytest.raises(Said) as said:
                await account.ask(method, path)
            assert said.value.status == 403, path
