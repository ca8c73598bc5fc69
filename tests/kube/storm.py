"""Many changes at once, as a cluster under way sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import aiohttp

from tests.kube import objects
from tests.kube.api import Api, Said

HANDS = 24
PATIENCE_SECONDS_MAX = 60.0
Object = dict[str, Any]


class Storm:
    """Many changes at once to pods and pools of a namespace, by several hands, from one seed."""

    def __init__(self, admin: Api, namespace: str, seed: int, names: int) -> None:
        self.admin = admin
        self.namespace = namespace
        self.chance = Random(seed)
        self.pods = [f"pod-{n}" for n in range(names)]
        self.pools = [f"pool-{n}" for n in range(max(4, names // 20))]

    async def rage(self, changes: int) -> None:
        """So many changes, begun in an order that the seed decides."""
        left = iter(range(changes))

        async def hand() -> None:
            for _ in left:
                await self.patiently(self.change())

        async with asyncio.TaskGroup() as tasks:
            for _ in range(HANDS):
                tasks.create_task(hand())

    async def patiently(self, change: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Done, or refused by the server for a reason of its own; tried again while there is no server."""
        async with asyncio.timeout(PATIENCE_SECONDS_MAX):
            while True:
                try:
                    await change()
                except Said as said:
                    if said.status in {404, 409}:  # another hand was quicker
                        return
                    if said.status < 500:
                        raise
                except aiohttp.ClientError:
                    pass
                else:
                    return
                await asyncio.sleep(0.1)

    def change(self) -> Callable[[], Coroutine[Any, Any, object]]:
        """One of those that a cluster sees."""
        admin, namespace, chance = self.admin, self.namespace, self.chance
        app = chance.choice("ab")
        if chance.random() < 0.1:
            pool = objects.pool(chance.choice(self.pools), *chance.sample(range(8000, 8010), 2), labels={"app": app})
            replaced = {"spec": {key: pool["spec"][key] for key in ("targetPorts", "selector")}}
            return chance.choice(
                [
                    lambda: admin.create(pool, namespace),
                    lambda: admin.patch(pool, replaced, namespace),
                    lambda: admin.delete(pool, namespace),
                ]
            )
        pod = objects.pod(chance.choice(self.pods), node=chance.choice(["", "node"]), app=app)
        address, ready = f"10.{chance.randrange(256)}.{chance.randrange(256)}.1", chance.random() < 0.8
        return chance.choice(
            [
                lambda: admin.create(pod, namespace),
                lambda: admin.create(pod, namespace),
                lambda: admin.patch(pod, objects.running(address, ready=ready), namespace, "status"),
                lambda: admin.patch(pod, {"metadata": {"labels": {"app": app}}}, namespace),
                lambda: admin.delete(pod, namespace),
                lambda: admin.delete(pod, namespace, gracePeriodSeconds="0"),
            ]
        )


async def each(items: list[Object], work: Callable[[Object], Coroutine[Any, Any, object]]) -> None:
    """`work` on all of them, some at a time."""
    left = iter(items)

    async def hand() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(HANDS):
            tasks.create_task(hand())
