"""Random changes and random misbehaviour, after which the view is the server's, and each change was told once.

`View.change` checks along the way that what is told goes from the value told before to one that differs.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from epp.edge.kube.client import KubeLimits
from tests.edge.until import until
from tests.kubeapi.server import EXPIRED, FAR, ApiServer, Drop, End, Fault, Hang, Refuse, Say, Slow, Stall
from tests.kubeapi.store import Store
from tests.kubeapi.view import PODS, following

STEPS = 150
NAMES = [f"pod-{n}" for n in range(12)]
SPECS = [1, 1, 2, 3, "bad"]
LABELS: list[dict[str, str]] = [{"app": "vllm"}, {"app": "vllm"}, {}]
SOON = Slow()
SOON.until.set()


def watch_fault(rng: Random) -> Fault:
    after = rng.randrange(3)
    return rng.choices(
        [
            Drop(after),
            Drop(after, half_line=True),
            End(after),
            Say(b'{"type":"MODIFIED"', after),
            EXPIRED,
            Refuse(410, "Expired"),
            Refuse(rng.choice([401, 403, 404, 429, 500, 504]), "Whatever"),
            Stall(after),
            Hang(),
        ],
        [4, 4, 4, 4, 4, 2, 4, 1, 1],
    )[0]


def list_fault(rng: Random) -> Fault:
    faults: list[Fault] = [
        Drop(),
        Refuse(410, "Expired"),
        Refuse(rng.choice([401, 403, 404, 429, 500]), "Whatever"),
        Refuse(200, body='{"items":['),
        SOON,
        Hang(),
    ]
    return rng.choices(faults, [4, 4, 4, 4, 4, 1])[0]


class Storm:
    """What may happen to the server, one thing at a time."""

    def __init__(self, api: ApiServer, rng: Random) -> None:
        self.api = api
        self.rng = rng
        self.backup: Store = api.backup()

    async def step(self) -> None:
        actions = [self.put, self.remove, self.trouble, self.forget, self.pause, self.back_up, self.restart]
        await self.rng.choices(actions, [40, 20, 12, 6, 20, 1, 2])[0]()

    async def put(self) -> None:
        labels = {"labels": self.rng.choice(LABELS)}
        namespace = self.rng.choice(["llm", "llm", "llm", "elsewhere"])
        self.api.put(PODS, namespace, self.rng.choice(NAMES), {"metadata": labels, "spec": self.rng.choice(SPECS)})

    async def remove(self) -> None:
        if self.api.store.objects:
            self.api.remove(*self.rng.choice(list(self.api.store.objects)))

    async def trouble(self) -> None:
        verb = self.rng.choice(["watch", "watch", "list", "page"])
        self.api.misbehave(verb, watch_fault(self.rng) if verb == "watch" else list_fault(self.rng))

    async def forget(self) -> None:
        self.rng.choice([self.api.compact, self.api.cut, self.api.bookmark])()

    async def pause(self) -> None:
        """Let the informer get anywhere between nowhere and everywhere."""
        await asyncio.sleep(self.rng.choice([0.0, 0.0, 0.002, 0.01]))

    async def back_up(self) -> None:
        self.backup = self.api.backup()

    async def restart(self) -> None:
        backup = self.rng.choice([None, None, self.backup])
        await self.api.restart(backup, versions=self.rng.choice([-FAR, FAR]))


@pytest.mark.parametrize("seed", range(16))
async def test_after_every_storm_the_view_is_the_servers(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epp.edge.kube.course.PAGE_OBJECTS", 3)
    rng = Random(seed)
    labels = rng.choice(["", "app=vllm"])
    limits = KubeLimits(connect_s=1.0, request_s=0.3, silence_s=0.3)
    async with ApiServer(PODS) as api, following(api, labels=labels, limits=limits, wait=False) as view:
        storm = Storm(api, rng)
        for _ in range(STEPS):
            await storm.step()
        api.behave()
        await until(lambda: view.equals(api, labels))

        api.put(PODS, "llm", "last", {"metadata": {"labels": {"app": "vllm"}}, "spec": "last"})
        await until(lambda: view.equals(api, labels))

    assert view.synced == 1
    assert ("llm", "last") in view.known
