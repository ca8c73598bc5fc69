"""An informer and a real API server that is restarted, restored, out of reach, or does not want to tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from epp.edge.kube.client import Kube, KubeLimits, Resource
from tests.edge.until import until
from tests.kube import objects
from tests.kube.api import Api
from tests.kube.assets import renamed
from tests.kube.cluster import Cluster
from tests.kube.relay import Relay
from tests.kube.views import PODS, POOLS, View, connected, following

ROLE = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "limited"}}
READ_POOLS = [{"apiGroups": [POOLS.group], "resources": [POOLS.plural], "verbs": ["list", "watch"]}]


async def test_a_version_that_was_forgotten_while_the_wire_was_dead_leads_to_a_new_list(
    cluster: Cluster, admin: Api, kubeconfig: Callable[..., Path], namespace: str
) -> None:
    """All that we see is a connection that ends: the server was restarted and compacted behind our back."""
    async with Relay(cluster.port) as relay, connected(kubeconfig(port=relay.port)) as kube:
        view = View(kube, PODS, namespace)
        await admin.create(objects.pod("goes"), namespace)
        await admin.create(objects.pod("stays"), namespace)
        async with following(view):
            await view.converges(admin)
            relay.go_dead()
            await admin.delete(objects.pod("goes"), namespace)
            cluster.kill_api()
            await cluster.forget_history()
            await cluster.start_api()
            await admin.create(objects.pod("comes"), namespace)
            relay.hang_up()
            await view.converges(admin)

    assert view.kube.expired
    assert view.kube.lists == 2
    assert {name for _, name in view.informer.objects} == {"stays", "comes"}


async def test_a_watch_whose_wire_is_dead_is_noticed_and_nothing_is_missed(
    cluster: Cluster, admin: Api, kubeconfig: Callable[..., Path], namespace: str
) -> None:
    async with Relay(cluster.port) as relay, connected(kubeconfig(port=relay.port), KubeLimits(silence_s=1.0)) as kube:
        view = View(kube, PODS, namespace)
        await admin.create(objects.pod("goes"), namespace)
        async with following(view):
            await view.converges(admin)
            relay.go_dead()
            await admin.create(objects.pod("comes"), namespace)
            await admin.delete(objects.pod("goes"), namespace)
            await view.converges(admin)

    assert not view.kube.expired


async def test_after_a_backup_was_restored_the_view_goes_back_as_well(
    cluster: Cluster, admin: Api, kube: Kube, namespace: str, tmp_path: Path
) -> None:
    view = View(kube, PODS, namespace)
    await admin.create(objects.pod("old"), namespace)
    async with following(view):
        await cluster.back_up(tmp_path / "backup")
        for n in range(20):
            await admin.create(objects.pod(f"new-{n}"), namespace)
        await admin.delete(objects.pod("old"), namespace)
        await view.converges(admin)
        await cluster.restore(tmp_path / "backup")
        await view.converges(admin)
        assert {name for _, name in view.informer.objects} == {"old"}
        await admin.create(objects.pod("newer"), namespace)
        await view.converges(admin)


async def test_a_missing_right_is_told_and_its_grant_is_noticed(
    admin: Api, kubeconfig: Callable[..., Path], namespace: str
) -> None:
    await admin.account("limited", namespace, [])
    await admin.create(objects.pool("p"), namespace)
    token = await admin.token(namespace, "limited")
    async with connected(kubeconfig(token), KubeLimits(watch_s=1.0)) as kube:  # rights count when a watch begins
        view = View(kube, POOLS, namespace)
        async with following(view):
            await until(lambda: view.informer.available is False)
            assert view.informer.settled
            assert not view.informer.synced
            assert "inferencepools" in str(view.informer.condition)
            assert f'system:serviceaccount:{namespace}:limited" cannot list' in str(view.informer.condition)
            await admin.patch(ROLE, {"rules": READ_POOLS}, namespace)
            await view.converges(admin)
            await until(lambda: view.informer.condition is None)
            await admin.patch(ROLE, {"rules": []}, namespace)

            await until(lambda: view.informer.condition is not None)
            assert {name for _, name in view.informer.objects} == {"p"}


async def test_a_missing_definition_is_told_and_its_arrival_is_noticed(
    assets: Path, admin: Api, kube: Kube, namespace: str
) -> None:
    group = f"{namespace}.example.com"
    definition = renamed(json.loads((assets / "crds" / "inferenceobjectives.llm-d.ai.json").read_text()), group)
    view = View(kube, Resource(group, "v1alpha2", "inferenceobjectives", "InferenceObjective"), namespace)
    async with following(view):
        await until(lambda: view.informer.available is False)
        assert "the cluster has no inferenceobjectives" in str(view.informer.condition)
        await admin.define([definition])
        await admin.create(objects.objective("first", 1, "p", group), namespace)
        await view.converges(admin)
        await admin.delete(definition)

        await until(lambda: view.informer.condition is not None)
