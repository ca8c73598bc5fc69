"""Candidates for one lease on a real API server: never two leaders, and one again after whatever happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from epp.edge.kube.client import Kube
from epp.edge.kube.leader import Leader
from epp.edge.kube.lease import Terms
from tests.edge.until import until
from tests.kube.api import Api
from tests.kube.cluster import Cluster
from tests.kube.views import connected

NAME = "epp-shop-llama.llm-d.ai"
QUICK = Terms(lease_s=2, renew_s=1.2, retry_s=0.1)
PATIENT = Terms(lease_s=600, renew_s=400.0, retry_s=0.1)  # longer than any test: who leads soon did not wait it out
LEASE = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}}
# What the chart gives, no more.
RIGHTS = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [NAME],
        "verbs": ["get", "update"],
    },
]


class Election:
    """Candidates, each as a process would run it."""

    def __init__(self, kube: Kube, namespace: str, terms: Terms) -> None:
        self.kube = kube
        self.namespace = namespace
        self.terms = terms
        self.running: dict[Leader, asyncio.Task[None]] = {}
        self.changes: list[tuple[str, bool]] = []

    def join(self, identity: str) -> Leader:
        made = Leader(
            self.kube,
            self.namespace,
            NAME,
            identity,
            lambda leading: self._changed(identity, leading),
            terms=self.terms,
            rng=Random(identity),
        )
        self.running[made] = asyncio.create_task(made.run(), name=identity)
        return made

    def _changed(self, identity: str, leading: bool) -> None:
        self.changes.append((identity, leading))
        assert len(self.leading) <= 1, self.changes

    @property
    def leading(self) -> list[str]:
        return [leader.identity for leader in self.running if leader.leading]

    async def vanish(self, leader: Leader) -> None:
        """As a process that is killed: it gives nothing away."""
        task = self.running.pop(leader)
        task.cancel()
        await asyncio.wait([task])

    async def leave(self, leader: Leader) -> None:
        """As a process that is asked to end."""
        await leader.release()
        await asyncio.wait_for(self.running.pop(leader), 30)


@asynccontextmanager
async def election(kube: Kube, namespace: str, terms: Terms) -> AsyncIterator[Election]:
    made = Election(kube, namespace, terms)
    try:
        yield made
    finally:
        for leader in list(made.running):
            await made.vanish(leader)


async def spec(admin: Api, namespace: str) -> dict[str, Any]:
    """The lease as the server has it."""
    found: dict[str, Any] = (await admin.get(LEASE, namespace))["spec"]
    return found


async def test_one_leads_and_hands_over_when_it_leaves(admin: Api, kube: Kube, namespace: str) -> None:
    async with election(kube, namespace, PATIENT) as held:
        first = held.join("first")
        await until(lambda: first.leading)
        second = held.join("second")
        await until(lambda: second.holder == "first")
        assert held.leading == ["first"]
        await held.leave(first)

        await until(lambda: second.leading)
        assert held.changes == [("first", True), ("first", False), ("second", True)]
        stored = await spec(admin, namespace)
        assert stored["holderIdentity"] == "second"
        assert stored["leaseTransitions"] == 1


async def test_who_vanishes_is_followed_when_the_lease_has_run_out(admin: Api, kube: Kube, namespace: str) -> None:
    async with election(kube, namespace, QUICK) as held:
        first = held.join("first")
        await until(lambda: first.leading)
        second = held.join("second")
        await until(lambda: second.holder == "first")
        await held.vanish(first)

        await until(lambda: second.leading)
        assert (await spec(admin, namespace))["holderIdentity"] == "second"


async def test_without_a_server_the_leader_steps_down_and_one_leads_again_with_it(
    cluster: Cluster, kube: Kube, namespace: str
) -> None:
    async with election(kube, namespace, QUICK) as held:
        for identity in ("first", "second", "third"):
            held.join(identity)
        await until(lambda: held.leading)
        cluster.kill_api()
        await until(lambda: not held.leading)
        assert all(leader.condition for leader in held.running)
        await cluster.start_api()

        await until(lambda: held.leading and not any(leader.condition for leader in held.running))


@pytest.mark.parametrize("seed", range(3))
async def test_there_are_never_two_however_they_come_and_go(kube: Kube, namespace: str, seed: int) -> None:
    chance = Random(seed)
    async with election(kube, namespace, QUICK) as held:
        for number in range(12):
            held.join(f"candidate-{number}")
            await asyncio.sleep(chance.uniform(0, 0.3))  # whatever they are in the middle of
            if len(held.running) > 3:
                away = chance.choice(list(held.running))
                await chance.choice([held.leave, held.vanish])(away)

        await until(lambda: held.leading)
        assert len(held.leading) == 1


async def test_the_charts_rights_are_enough_to_lead(
    admin: Api, kubeconfig: Callable[..., Path], namespace: str
) -> None:
    await admin.account("ours", namespace, RIGHTS)
    async with (
        connected(kubeconfig(await admin.token(namespace, "ours"))) as kube,
        election(kube, namespace, PATIENT) as held,
    ):
        first = held.join("first")
        await until(lambda: first.leading)
        second = held.join("second")
        await held.leave(first)

        await until(lambda: second.leading)


async def test_a_missing_right_is_told(admin: Api, kubeconfig: Callable[..., Path], namespace: str) -> None:
    await admin.account("ours", namespace, [])
    async with (
        connected(kubeconfig(await admin.token(namespace, "ours"))) as kube,
        election(kube, namespace, PATIENT) as held,
    ):
        first = held.join("first")

        await until(lambda: first.condition)
        assert "grant get, create and update on leases" in str(first.condition)
        assert not first.leading


async def test_a_lease_that_is_deleted_under_its_holder_does_not_make_two_leaders(
    admin: Api, kube: Kube, namespace: str
) -> None:
    async with election(kube, namespace, QUICK) as held:
        first, second = held.join("first"), held.join("second")
        await until(lambda: first.leading or second.leading)
        await admin.delete(LEASE, namespace)

        await until(lambda: held.leading and first.holder == second.holder)
        assert (await spec(admin, namespace))["holderIdentity"] == held.leading[0]
