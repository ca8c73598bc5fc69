"""One leader at a time: on virtual time against everything that can go wrong, and on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2
import pytest

from epp.edge.kube.client import ApiError, Kube, Object, Resource
from epp.edge.kube.leader import Leader, lease_name
from epp.edge.kube.lease import LEASES, Terms
from tests.edge.until import until
from tests.kubeapi import virtual
from tests.kubeapi.server import ApiServer, Drop, Hang, Refuse, Unheard
from tests.kubeapi.store import Store

NAME = lease_name("llm", "pool")
KEY = LEASES, "llm", NAME


@dataclass
class Trouble:
    """What the network does to one candidate's requests, on virtual time."""

    rng: Random
    latency_s: float = 0.0
    lost: float = 0.0  # the fraction of requests that do not arrive
    unheard: float = 0.0  # the fraction that is done without an answer
    hangs: float = 0.0  # the fraction of those above that are never told of
    answer_s: float = 0.0  # how much longer the answer to a write takes


class FarKube(Kube):
    """Leases in memory, far away: requests and answers take their time and get lost."""

    def __init__(self, store: Store, trouble: Trouble) -> None:
        super().__init__(httpx2.AsyncClient(), "llm")
        self.store = store
        self.trouble = trouble

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        await self._travel(self.trouble.lost)
        found = self.store.objects.get(KEY)
        await self._travel(self.trouble.unheard)
        if found is None:
            raise ApiError(404, "NotFound", "")
        return found

    async def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        await self._travel(self.trouble.lost)
        done = None if KEY in self.store.objects else self.store.put(*KEY, body)
        return await self._answer(done)

    async def replace(self, resource: Resource, namespace: str | None, name: str, body: Object) -> Object:
        await self._travel(self.trouble.lost)
        found = self.store.objects.get(KEY)
        if found is None:
            raise ApiError(404, "NotFound", "")
        fits = found["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"]
        return await self._answer(self.store.put(*KEY, body) if fits else None)

    async def _answer(self, done: Object | None) -> Object:
        await asyncio.sleep(self.trouble.answer_s)
        await self._travel(self.trouble.unheard)
        if done is None:
            raise ApiError(409, "Conflict", "")
        return done

    async def _travel(self, lost: float) -> None:
        await asyncio.sleep(self.trouble.rng.uniform(0.0, self.trouble.latency_s))
        if self.trouble.rng.random() < lost:
            await asyncio.sleep(1e6 if self.trouble.rng.random() < self.trouble.hangs else 0.0)
            raise ApiError(0, "ConnectionLost", "")


@dataclass
class Village:
    """Candidates on clocks of their own that must never lead two at a time."""

    store: Store = field(default_factory=Store)
    leaders: dict[str, Leader] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    told: list[tuple[str, bool]] = field(default_factory=list)

    def join(self, identity: str, trouble: Trouble | None = None) -> Leader:
        loop = asyncio.get_running_loop()
        offset = 1000.0 * len(self.leaders)
        leader = Leader(
            FarKube(self.store, trouble or Trouble(Random(1))),
            "llm",
            NAME,
            identity,
            lambda leads: self.change(identity, leads),
            now=lambda: loop.time() + offset,
            rng=Random(identity),
        )
        self.leaders[identity] = leader
        self.tasks[identity] = asyncio.create_task(leader.run())
        return leader

    def change(self, identity: str, leads: bool) -> None:
        self.told.append((identity, leads))
        self.check()

    def check(self) -> None:
        assert len(self.leading) <= 1, f"two leaders: {self.leading} after {self.told}"

    @property
    def leading(self) -> list[str]:
        return [identity for identity, leader in self.leaders.items() if leader.leading]

    async def crash(self, identity: str) -> None:
        """The process is gone: nothing is released, and nobody there to lead."""
        self.tasks[identity].cancel()
        with suppress(asyncio.CancelledError):
            await self.tasks.pop(identity)
        await self.leaders.pop(identity).kube.close()

    async def end(self) -> None:
        for identity in list(self.leaders):
            await self.crash(identity)


def on_virtual_time(story: Any) -> Village:
    """Run a story of a village; the time it takes is nobody's."""

    async def told() -> Village:
        village = Village()
        try:
            await story(village)
        finally:
            await village.end()
        return village

    return virtual.run(told())


def test_one_of_three_leads_and_keeps_it() -> None:
    async def story(village: Village) -> None:
        village.join("a")
        await asyncio.sleep(0.1)
        known = village.leaders["a"].holder
        for identity in "bc":
            village.join(identity)
        await asyncio.sleep(1000.0)

        assert known == "a"
        assert village.leading == ["a"]
        assert all(leader.holder == "a" for leader in village.leaders.values())
        assert all(leader.condition is None for leader in village.leaders.values())

    assert len(on_virtual_time(story).told) == 1


def test_when_the_leader_dies_another_follows_after_the_lease_has_run_out() -> None:
    async def story(village: Village) -> None:
        village.join("a")
        await asyncio.sleep(1.0)
        village.join("b")
        await asyncio.sleep(100.0)
        before = village.leading
        died = asyncio.get_running_loop().time()
        await village.crash("a")
        while not village.leading:
            await asyncio.sleep(0.1)
        waited = asyncio.get_running_loop().time() - died

        assert before == ["a"]
        assert village.leading == ["b"]
        assert 13.0 - 0.1 <= waited <= 15.0 + 4.4 + 0.2  # renewed up to 2 s before; looks are up to 4.4 s apart
        assert village.store.objects[KEY]["spec"]["leaseTransitions"] == 1

    on_virtual_time(story)


def test_a_release_hands_over_at_once() -> None:
    async def story(village: Village) -> None:
        village.join("a")
        await asyncio.sleep(1.0)
        village.join("b")
        await asyncio.sleep(100.0)
        await village.leaders["a"].release()
        released = dict(village.store.objects[KEY]["spec"])
        await village.leaders["a"].release()
        await asyncio.sleep(2.0 * 2.2)

        assert released["holderIdentity"] == ""
        assert released["leaseDurationSeconds"] == 1
        assert village.leading == ["b"]
        assert village.tasks["a"].done()

    assert on_virtual_time(story).told == [("a", True), ("a", False), ("b", True)]


def test_a_follower_that_leaves_changes_nothing() -> None:
    async def story(village: Village) -> None:
        village.join("a")
        await asyncio.sleep(1.0)
        village.join("b")
        await asyncio.sleep(10.0)
        await village.leaders["b"].release()
        await asyncio.sleep(10.0)

        assert village.store.objects[KEY]["spec"]["holderIdentity"] == "a"

    assert on_virtual_time(story).told == [("a", True)]


def test_a_leader_cut_off_steps_down_before_anyone_else_may_lead() -> None:
    async def story(village: Village) -> None:
        trouble = Trouble(Random(1), hangs=1.0)
        village.join("a", trouble)
        await asyncio.sleep(1.0)
        village.join("b")
        await asyncio.sleep(60.0)
        trouble.lost = 1.0
        await asyncio.sleep(10.1)
        nobody = list(village.leading)
        await asyncio.sleep(20.0)
        after = list(village.leading)
        trouble.lost = 0.0
        await asyncio.sleep(1000.0)

        assert (nobody, after, village.leading) == ([], ["b"], ["b"])
        assert village.leaders["a"].condition is None

    assert on_virtual_time(story).told == [("a", True), ("a", False), ("b", True)]


def test_an_outage_shorter_than_the_deadline_is_survived() -> None:
    async def story(village: Village) -> None:
        trouble = Trouble(Random(1))
        leader = village.join("a", trouble)
        await asyncio.sleep(60.0)
        trouble.lost = 1.0
        await asyncio.sleep(5.0)
        during = leader.leading, leader.condition
        trouble.lost = 0.0
        await asyncio.sleep(60.0)

        assert during[0]
        assert during[1] is not None
        assert "ConnectionLost" in during[1]
        assert leader.leading
        assert leader.condition is None

    assert on_virtual_time(story).told == [("a", True)]


def test_a_lease_deleted_under_its_leader_is_made_again_by_it() -> None:
    async def story(village: Village) -> None:
        village.join("a")
        await asyncio.sleep(1.0)
        village.join("b")
        await asyncio.sleep(60.0)
        village.store.remove(*KEY)
        await asyncio.sleep(60.0)

        assert village.leading == ["a"]

    assert on_virtual_time(story).told == [("a", True)]


def test_an_answer_that_got_lost_is_found_out_at_the_next_look() -> None:
    async def story(village: Village) -> None:
        trouble = Trouble(Random(1))
        village.join("a", trouble)
        trouble.unheard = 1.0
        await asyncio.sleep(0.1)
        trouble.unheard = 0.0
        await asyncio.sleep(10.0)

        assert village.leading == ["a"]

    on_virtual_time(story)


def test_the_lead_counts_from_when_a_renewal_was_begun_not_from_its_answer() -> None:
    async def story(village: Village) -> None:
        trouble = Trouble(Random(1), hangs=1.0)
        village.join("a", trouble)
        await asyncio.sleep(1.0)
        for identity in "bcdef":
            village.join(identity)
        await asyncio.sleep(60.0)
        trouble.answer_s = 7.9
        await asyncio.sleep(10.0)
        still = list(village.leading)
        trouble.lost = 1.0
        for _ in range(400):
            await asyncio.sleep(0.1)
            village.check()

        assert still == ["a"]
        assert village.leading not in ([], ["a"])

    on_virtual_time(story)


def test_the_lead_ends_by_the_clock_even_while_nothing_else_runs() -> None:
    async def story(village: Village) -> None:
        leader = village.join("a")
        await asyncio.sleep(1.0)
        clock = leader.now
        before = leader.leading
        leader.now = lambda: clock() + 10.0

        assert before
        assert not leader.leading

    on_virtual_time(story)


def test_a_leader_that_sees_another_in_the_lease_steps_down_at_once() -> None:
    async def story(village: Village) -> None:
        leader = village.join("a")
        await asyncio.sleep(60.0)
        village.store.put(*KEY, with_holder(village.store, "x"))
        await asyncio.sleep(2.1)

        assert village.told[-1] == ("a", False)
        assert leader.holder == "x"

    on_virtual_time(story)


def test_only_its_holder_gives_a_lease_away() -> None:
    async def story(village: Village) -> None:
        leader = village.join("a")
        await asyncio.sleep(60.0)
        village.store.put(*KEY, with_holder(village.store, "x"))
        await leader.release()

        assert village.store.objects[KEY]["spec"]["holderIdentity"] == "x"

    on_virtual_time(story)


def test_that_the_lead_has_ended_is_told_when_it_ends() -> None:
    async def story(village: Village) -> None:
        trouble = Trouble(Random(1), latency_s=0.3)
        leader = village.join("a", trouble)
        await asyncio.sleep(60.0)
        trouble.lost = 1.0
        while leader.leading:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)

        assert village.told == [("a", True), ("a", False)]

    on_virtual_time(story)


def test_a_release_survives_a_write_in_between() -> None:
    async def story(village: Village) -> None:
        leader = village.join("a")
        await asyncio.sleep(1.0)
        get, edited = leader.kube.get, []

        async def get_then_edit(*arguments: Any) -> Object:
            found = await get(*arguments)
            if not edited:
                edited.append(village.store.put(*KEY, found | {"metadata": found["metadata"] | {"labels": {"a": "b"}}}))
            return found

        leader.kube.get = get_then_edit  # type: ignore[method-assign]  # the write comes right after the look
        await leader.release()

        assert edited
        assert village.store.objects[KEY]["spec"]["holderIdentity"] == ""
        assert village.store.objects[KEY]["metadata"]["labels"] == {"a": "b"}

    on_virtual_time(story)


def test_a_look_under_way_at_the_release_does_not_take_the_lease_back() -> None:
    async def story(village: Village) -> None:
        trouble = Trouble(Random(1))
        leader = village.join("a", trouble)
        await asyncio.sleep(1.5)
        trouble.latency_s = 5.0
        await asyncio.sleep(0.55)
        trouble.latency_s = 0.0
        await leader.release()
        await asyncio.sleep(60.0)

        assert village.store.objects[KEY]["spec"]["holderIdentity"] == ""

    assert on_virtual_time(story).told == [("a", True), ("a", False)]


def test_an_answer_that_comes_after_the_release_does_not_bring_the_lead_back() -> None:
    async def story(village: Village) -> None:
        trouble = Trouble(Random(1))
        leader = village.join("a", trouble)
        await asyncio.sleep(1.5)
        trouble.answer_s = 3.0
        await asyncio.sleep(1.0)
        trouble.answer_s = 0.0
        await leader.release()
        await asyncio.sleep(60.0)

        assert village.store.objects[KEY]["spec"]["holderIdentity"] == ""

    assert on_virtual_time(story).told == [("a", True), ("a", False)]


def with_holder(store: Store, identity: str) -> Object:
    return store.objects[KEY] | {"spec": store.objects[KEY]["spec"] | {"holderIdentity": identity}}


@pytest.mark.parametrize("seed", range(30))
def test_never_two_leaders_whatever_happens_and_one_when_it_is_over(seed: int) -> None:
    async def story(village: Village) -> None:
        rng = Random(seed)
        born = 0
        troubles: dict[str, Trouble] = {}
        for _ in range(200):
            await asyncio.sleep(rng.expovariate(1 / 5.0))
            village.check()
            chance = rng.random()
            if len(village.leaders) < 3:
                identity, born = f"{seed}-{born}", born + 1
                troubles[identity] = Trouble(Random(rng.random()))
                village.join(identity, troubles[identity])
            elif chance < 0.1:
                await village.crash(rng.choice(list(village.leaders)))
            elif chance < 0.2:
                identity = rng.choice(list(village.leaders))
                await village.leaders[identity].release()
                await village.crash(identity)
            elif chance < 0.25 and KEY in village.store.objects:
                # Somebody edits it, or breaks it.
                spec = village.store.objects[KEY]["spec"] | rng.choice([{"x": 1}, {"renewTime": None}])
                village.store.put(*KEY, village.store.objects[KEY] | {"spec": spec})
            else:
                trouble = troubles[rng.choice(list(village.leaders))]
                trouble.latency_s = rng.choice([0.0, 0.1, 3.0, 12.0])
                trouble.lost = rng.choice([0.0, 0.0, 0.3, 1.0])
                trouble.unheard = rng.choice([0.0, 0.0, 0.3, 1.0])
                trouble.hangs = rng.choice([0.0, 1.0])
        for trouble in troubles.values():
            trouble.latency_s = trouble.lost = trouble.unheard = 0.0
        await asyncio.sleep(60.0)
        village.check()

        assert len(village.leading) == 1
        assert all(leader.condition is None for leader in village.leaders.values())

    village = on_virtual_time(story)

    assert sum(leads for _, leads in village.told) > 3
    for identity in {identity for identity, _ in village.told}:
        mine = [leads for who, leads in village.told if who == identity]
        assert mine == [number % 2 == 0 for number in range(len(mine))], "each change is told once"


QUICK = Terms(lease_s=1, renew_s=0.6, retry_s=0.05)
PATIENT = Terms(lease_s=600, renew_s=500.0, retry_s=0.05)


@asynccontextmanager
async def candidate(api: ApiServer, identity: str, terms: Terms = QUICK) -> AsyncIterator[Leader]:
    kube = api.connect()
    leader = Leader(kube, "llm", NAME, identity, lambda leads: None, terms=terms)
    task = asyncio.create_task(leader.run())
    try:
        yield leader
        assert not task.done() or leader._closing
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await kube.close()


async def test_over_real_sockets_the_next_one_leads_when_the_first_is_gone() -> None:
    async with ApiServer(LEASES) as api, candidate(api, "b") as second, candidate(api, "a") as first:
        await until(lambda: first.leading or second.leading)
        one, other = (first, second) if first.leading else (second, first)
        await one.release()
        await until(lambda: other.leading)

        assert not one.leading
        assert api.store.objects[KEY]["spec"]["holderIdentity"] == other.identity
        assert api.store.objects[KEY]["metadata"]["name"] == "epp-llm-pool.llm-d.ai"


async def test_over_real_sockets_an_outage_ends_the_lead_and_its_end_brings_it_back() -> None:
    async with ApiServer(LEASES) as api, candidate(api, "a") as leader:
        await until(lambda: leader.leading)
        await api.stop()
        await until(lambda: leader._until is None)
        said = leader.condition or ""
        await api.start()
        await until(lambda: leader.leading and leader.condition is None)

    assert "llm/epp-llm-pool.llm-d.ai cannot be held or watched: NoConnection: connection refused" in said


@pytest.mark.parametrize("verb", ["get", "replace"])
async def test_over_real_sockets_a_bad_moment_does_not_end_the_lead(verb: str) -> None:
    told: list[bool] = []
    async with ApiServer(LEASES) as api, candidate(api, "a", PATIENT) as leader:
        await until(lambda: leader.leading)
        leader.on_change = told.append
        for fault in (Drop(), Unheard(), Refuse(409, "Conflict"), Refuse(500)):
            api.misbehave(verb, fault)
            await until(lambda: not api._faults[verb])
        version = api.store.version
        await until(lambda: api.store.version > version and leader.condition is None)

        assert leader.leading
        assert told == []


async def test_over_real_sockets_a_server_that_hangs_ends_the_lead() -> None:
    async with ApiServer(LEASES) as api, candidate(api, "a") as leader:
        await until(lambda: leader.leading)
        api.misbehave("get", Hang())
        await until(lambda: leader._until is None)
        said = leader.condition
        await until(lambda: leader.leading)

    assert said is not None
    assert "no answer in time" in said


async def test_missing_rights_say_what_to_grant_and_are_taken_up_when_given() -> None:
    async with ApiServer(LEASES) as api:
        api.denied.add(LEASES)
        async with candidate(api, "a") as leader:
            await until(lambda: leader.condition)
            said = leader.condition or ""
            api.denied.clear()
            await until(lambda: leader.leading and leader.condition is None)

    assert "grant get, create and update on leases (coordination.k8s.io/v1) in namespace llm" in said


async def test_a_release_without_a_server_does_not_raise() -> None:
    async with ApiServer(LEASES) as api, candidate(api, "a") as leader:
        await until(lambda: leader.leading)
        await api.stop()
        await leader.release()

        assert not leader.leading
