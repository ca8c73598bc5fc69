"""An informer's view against what a real API server holds, after storms of changes."""

from __future__ import annotations

import asyncio

import pytest

from epp.edge.kube.client import Kube
from tests.kube import objects
from tests.kube.api import Api
from tests.kube.cluster import Cluster
from tests.kube.storm import Storm, each
from tests.kube.views import PODS, POOLS, View, following

PODS_MANY = 3000


@pytest.fixture
def views(kube: Kube, namespace: str) -> list[View]:
    """All pods, some pods, and the pools."""
    return [View(kube, PODS, namespace), View(kube, PODS, namespace, "app=a"), View(kube, POOLS, namespace)]


@pytest.mark.parametrize("seed", range(3))
async def test_after_a_storm_the_view_is_the_servers(admin: Api, namespace: str, views: list[View], seed: int) -> None:
    storm = Storm(admin, namespace, seed, names=60)
    await storm.rage(100)  # so that the first list finds something
    async with following(*views):
        for _ in range(3):
            await storm.rage(250)
            for view in views:
                await view.converges(admin)

    assert [view.kube.lists for view in views] == [1, 1, 1]


@pytest.mark.parametrize("seed", range(2))
async def test_after_a_storm_in_which_the_server_was_killed_the_view_is_the_servers(
    cluster: Cluster, admin: Api, namespace: str, views: list[View], seed: int
) -> None:
    storm = Storm(admin, namespace, seed, names=60)
    async with following(*views):
        raging = asyncio.create_task(storm.rage(900))
        for _ in range(2):
            await asyncio.wait([raging], timeout=storm.chance.uniform(0.1, 1.0))
            cluster.kill_api()
            await cluster.forget_history()
            await cluster.start_api()
        await raging
        for view in views:
            await view.converges(admin)


async def test_thousands_of_pods_are_followed_through_a_killed_server(
    cluster: Cluster, admin: Api, kube: Kube, namespace: str
) -> None:
    view = View(kube, PODS, namespace)
    pods = [objects.pod(f"pod-{n}", app="a") for n in range(PODS_MANY)]
    async with following(view):
        await each(pods[: PODS_MANY // 2], lambda pod: admin.create(pod, namespace))
        await view.converges(admin)
        cluster.kill_api()
        await cluster.start_api()
        await each(pods[PODS_MANY // 2 :], lambda pod: admin.create(pod, namespace))
        await each(pods, lambda pod: admin.patch(pod, objects.running("10.0.0.1"), namespace, "status"))
        await view.converges(admin)
        await each(pods[::2], lambda pod: admin.delete(pod, namespace))
        await view.converges(admin)

    assert len(view.informer.objects) == PODS_MANY // 2
