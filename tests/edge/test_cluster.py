"""Kubernetes objects become pools, endpoints and policies, against an API server on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from epp.datastore.fleet import Fleet
from epp.datastore.membership import Naming
from epp.datastore.selectors import parse
from epp.edge.cluster import Cluster
from epp.edge.kinds import OLD_POOLS
from epp.edge.kube.client import Resource
from epp.edge.members import PODS
from epp.edge.notices import Notice
from epp.edge.wanted import Wanted
from tests.edge.until import running, until
from tests.kubeapi.server import ApiServer, Hang, Refuse

POOLS = Resource("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
OBJECTIVES = Resource("llm-d.ai", "v1alpha2", "inferenceobjectives", "InferenceObjective")
REWRITES = Resource("llm-d.ai", "v1alpha2", "inferencemodelrewrites", "InferenceModelRewrite")
OLD_OBJECTIVES = Resource("inference.networking.x-k8s.io", "v1alpha2", "inferenceobjectives", "InferenceObjective")
ALL = (POOLS, PODS, OBJECTIVES, REWRITES)


def pool(app: str, *ports: int, picker: str = "onehop", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "metadata": {"labels": more},
        "spec": {
            "selector": {"matchLabels": {"app": app}},
            "targetPorts": [{"number": port} for port in ports or (8000,)],
            "endpointPickerRef": {"name": picker, "port": {"number": 9002}},
        },
    }


def pod(app: str, ip: str, ready: bool = True, **labels: str) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "metadata": {"labels": {"app": app, **labels}},
        "status": {"phase": "Running", "podIP": ip, "conditions": [condition]},
    }


def of_pool(name: str, **spec: Any) -> dict[str, Any]:
    return {"spec": {"poolRef": {"name": name}, **spec}}


@dataclass
class Seen:
    """A cluster that is followed, and what it told."""

    fleet: Fleet
    cluster: Cluster
    ready: list[bool] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def endpoints(self, key: str = "llm/p") -> list[str]:
        return [e.address for e in self.fleet.pool(key).endpoints]

    @property
    def conditions(self) -> dict[str, Any]:
        return {name: said for name, ask in self.cluster.conditions().items() if (said := ask())}


@asynccontextmanager
async def following(api: ApiServer, wanted: Wanted, naming: Naming | None = None) -> AsyncIterator[Seen]:
    kube = api.connect()
    fleet = Fleet()
    notices: list[Notice] = []
    seen = Seen(fleet, Cluster(kube, fleet, wanted, naming or Naming(), notice=notices.append), notices=notices)
    seen.cluster.on_ready = seen.ready.append
    try:
        async with running(seen.cluster.run()):
            yield seen
    finally:
        await kube.close()


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer(*ALL) as server:
        server.put(POOLS, "llm", "p", pool("vllm"))
        server.put(PODS, "llm", "a", pod("vllm", "10.0.0.1"))
        server.put(PODS, "llm", "b", pod("vllm", "10.0.0.2"))
        server.put(PODS, "llm", "other", pod("web", "10.0.0.9"))
        yield server


NAMED = Wanted("llm", named=frozenset({"llm/p"}))


async def test_a_pool_has_its_ready_pods_and_follows_them(api: ApiServer) -> None:
    async with following(api, NAMED) as seen:
        await until(lambda: seen.ready == [True])
        first = seen.endpoints()
        kept = seen.fleet.all.endpoints[0]
        api.put(PODS, "llm", "b", pod("vllm", "10.0.0.2", ready=False))
        api.put(PODS, "llm", "c", pod("vllm", "10.0.0.3"))
        await until(lambda: seen.endpoints() == ["10.0.0.1:8000", "10.0.0.3:8000"])

        assert first == ["10.0.0.1:8000", "10.0.0.2:8000"]
        assert seen.fleet.all.endpoints[0] is kept
        assert seen.conditions == {}


async def test_a_changed_selector_or_port_takes_effect_without_a_gap(api: ApiServer) -> None:
    async with following(api, NAMED) as seen:
        await until(lambda: seen.ready == [True])
        sizes: list[int] = []
        seen.fleet.on_change = lambda: sizes.append(len(seen.fleet.all.endpoints))
        api.put(POOLS, "llm", "p", pool("vllm", 8000, 8001))
        await until(lambda: len(seen.endpoints()) == 4)
        api.put(POOLS, "llm", "p", pool("web", 9000))
        await until(lambda: seen.endpoints() == ["10.0.0.9:9000"])

        assert 0 not in sizes


async def test_a_pool_that_is_deleted_is_not_ready_and_comes_back(api: ApiServer) -> None:
    async with following(api, NAMED) as seen:
        await until(lambda: seen.ready == [True])
        api.remove(POOLS, "llm", "p")
        await until(lambda: seen.ready == [True, False])
        gone = seen.endpoints()
        api.put(POOLS, "llm", "p", pool("vllm"))
        await until(lambda: seen.ready == [True, False, True])

        assert gone == []
        assert len(seen.endpoints()) == 2


async def test_pools_are_ours_by_name_label_or_service(api: ApiServer) -> None:
    api.put(POOLS, "llm", "by-label", pool("web", team="a"))
    api.put(POOLS, "llm", "by-service", pool("web", 9000, picker="mine"))
    api.put(POOLS, "llm", "foreign", pool("web", picker="theirs"))
    api.put(POOLS, "other", "named", pool("web"))
    wanted = Wanted("llm", named=frozenset({"other/named"}), labels=parse("team=a"), service="mine")
    async with following(api, wanted) as seen:
        await until(lambda: seen.ready == [True])
        await until(lambda: len(seen.fleet.pools) == 3)
        await until(lambda: seen.endpoints("llm/by-service") == ["10.0.0.9:9000"])

        assert set(seen.fleet.pools) == {"llm/by-label", "llm/by-service", "other/named"}
        api.put(POOLS, "llm", "by-service", pool("web", 9000, picker="theirs"))
        await until(lambda: seen.endpoints("llm/by-service") == [])


async def test_without_pool_objects_pods_are_endpoints_by_label(api: ApiServer) -> None:
    api.resources = {PODS}
    async with following(api, Wanted("llm", pods=(parse("app=vllm"), (8000,)))) as seen:
        await until(lambda: seen.ready == [True])

        assert [e.address for e in seen.fleet.all.endpoints] == ["10.0.0.1:8000", "10.0.0.2:8000"]
        assert seen.conditions == {}


async def test_the_older_pools_are_read_where_the_cluster_has_only_those(api: ApiServer) -> None:
    api.resources = {OLD_POOLS, PODS}
    spec = {"selector": {"app": "vllm"}, "targetPortNumber": 8000, "extensionRef": {"name": "onehop"}}
    api.put(OLD_POOLS, "llm", "p", {"apiVersion": "inference.networking.x-k8s.io/v1alpha2", "spec": spec})
    async with following(api, NAMED) as seen:
        await until(lambda: seen.ready == [True])

        assert len(seen.endpoints()) == 2


async def test_missing_kinds_and_rights_cost_a_feature_and_not_readiness(api: ApiServer) -> None:
    api.resources.discard(REWRITES)
    api.denied.add(OBJECTIVES)
    async with following(api, NAMED) as seen:
        await until(lambda: seen.ready == [True])
        await until(lambda: len(seen.conditions) == 2)

        alarms = {name for name, ask in seen.cluster.alarms().items() if ask()}
        assert alarms == {"inferenceobjectives"}, "a cluster without rewrites is none that needs help"
        assert "install the CRD" in seen.conditions["inferencemodelrewrites"]["llm"]
        assert "grant list and watch" in seen.conditions["inferenceobjectives"]["llm"]


async def test_without_the_right_to_ask_what_there_is_the_newest_kinds_are_followed(api: ApiServer) -> None:
    api.misbehave("discover", *[Refuse(403, "Forbidden")] * 50)
    async with following(api, NAMED) as seen:
        await until(lambda: seen.ready == [True])

        assert len(seen.endpoints()) == 2


async def test_one_bad_pool_holds_up_no_other(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epp.edge.cluster.PATIENCE_S", 0.0)
    api.put(POOLS, "llm", "bad", {"spec": {"selector": {"matchLabels": {"a": "b"}}, "targetPorts": []}})
    api.put(POOLS, "llm", "slow", pool("web"))
    hang = Hang()
    wanted = Wanted("llm", named=frozenset({"llm/p", "llm/bad", "llm/slow", "llm/absent"}))
    async with following(api, wanted) as seen:
        api.misbehave("list", *[hang] * 3)
        await until(lambda: len([verb for verb, _ in api.asked if verb == "list"]) >= 3)
        hang.until.set()
        await until(lambda: seen.ready == [True])

        assert len(seen.endpoints()) == 2
        assert "bad" in seen.conditions["inferencepools"]["llm"]


async def test_what_is_known_stays_while_the_api_server_is_away(api: ApiServer) -> None:
    async with following(api, NAMED) as seen:
        await until(lambda: seen.ready == [True] and api.watching == 4)
        await api.stop()
        await until(lambda: "pods" in seen.conditions)
        kept = seen.endpoints()
        api.put(PODS, "llm", "c", pod("vllm", "10.0.0.3"))
        await api.restart()
        await until(lambda: len(seen.endpoints()) == 3)
        await until(lambda: seen.conditions == {})

        assert len(kept) == 2
        assert seen.ready == [True]


async def test_an_api_server_that_is_not_there_yet_is_waited_for(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epp.edge.cluster.DISCOVERY_PAUSE_S", 0.01)
    await api.stop()
    async with following(api, NAMED) as seen:
        await until(lambda: "discovery" in seen.conditions and "asked yet" not in seen.conditions["discovery"])
        before = list(seen.ready)
        await api.start()
        await until(lambda: seen.ready == [True])

        assert before == []


async def test_objectives_and_rewrites_apply_to_their_pool_and_are_followed(api: ApiServer) -> None:
    rules = [{"matches": [{"model": {"type": "Exact", "value": "gpt-4"}}], "targets": [{"modelRewrite": "phi4-mini"}]}]
    api.put(OBJECTIVES, "llm", "batch", of_pool("p", priority=-1))
    api.put(OBJECTIVES, "llm", "elsewhere", of_pool("q", priority=9))
    api.put(REWRITES, "llm", "r", of_pool("p", rules=rules))
    async with following(api, NAMED) as seen:
        await until(lambda: seen.fleet.pool("llm/p").policies.names() == ("gpt-4",))
        policies = seen.fleet.pool("llm/p").policies
        await until(lambda: seen.fleet.pool("llm/p").policies.priority("batch") == -1)
        rewritten = policies.rewrite("gpt-4", Random(1))

        assert rewritten is not None
        assert rewritten.model == "phi4-mini"
        assert seen.fleet.all.policies.priority("batch") == -1
        assert seen.fleet.all.policies.priority("elsewhere") == 0
        api.remove(REWRITES, "llm", "r")
        await until(lambda: seen.fleet.pool("llm/p").policies.names() == ())


async def test_a_conflict_is_a_condition_and_told_once(api: ApiServer) -> None:
    rules = [{"matches": [{"model": {"value": "gpt-4"}}], "targets": [{"modelRewrite": "phi4-mini"}]}]
    api.put(REWRITES, "llm", "first", of_pool("p", rules=rules))
    api.put(REWRITES, "llm", "second", of_pool("p", rules=rules))
    async with following(api, NAMED) as seen:
        await until(lambda: seen.notices)
        api.put(PODS, "llm", "c", pod("vllm", "10.0.0.3"))
        api.put(OBJECTIVES, "llm", "batch", of_pool("p", priority=-1))
        await until(lambda: seen.fleet.pool("llm/p").policies.priority("batch") == -1)

        assert [(n.about.kind, n.name, n.reason) for n in seen.notices] == [
            ("InferenceModelRewrite", "second", "Conflict")
        ]
        assert "InferenceModelRewrite llm/second" in seen.conditions["conflicts"][0]
        api.remove(REWRITES, "llm", "second")
        await until(lambda: "conflicts" not in seen.conditions)


async def test_an_objective_is_not_told_that_its_pool_is_missing_before_we_have_seen_the_pools(api: ApiServer) -> None:
    api.put(OBJECTIVES, "llm", "batch", of_pool("p", priority=-1))
    api.denied.add(POOLS)
    async with following(api, NAMED) as seen:
        await until(lambda: ("watch", "inferenceobjectives") in api.asked and "inferencepools" in seen.conditions)

        assert "conflicts" not in seen.conditions
        assert [n for n in seen.notices if n.reason == "Conflict"] == []


async def test_an_objective_of_a_pool_that_is_missing_is_told_so_when_the_pools_are_seen_last(api: ApiServer) -> None:
    api.remove(POOLS, "llm", "p")
    api.put(OBJECTIVES, "llm", "batch", of_pool("p", priority=-1))
    hang = Hang()
    async with following(api, NAMED) as seen:
        api.misbehave("list", hang)
        await until(lambda: ("watch", "inferenceobjectives") in api.asked)
        before = seen.conditions.get("conflicts")
        hang.until.set()
        await until(lambda: "conflicts" in seen.conditions)

        assert before is None


async def test_the_older_objectives_count_only_where_they_are_alone(api: ApiServer) -> None:
    api.resources.add(OLD_OBJECTIVES)
    api.put(OLD_OBJECTIVES, "llm", "old", of_pool("p", priority=5))
    api.put(OBJECTIVES, "llm", "new", of_pool("p", priority=-1))
    async with following(api, NAMED) as seen:
        await until(lambda: seen.fleet.pool("llm/p").policies.priorities() == {"new": -1})
    api.resources.discard(OBJECTIVES)
    async with following(api, NAMED) as seen:
        await until(lambda: seen.fleet.pool("llm/p").policies.priorities() == {"old": 5})


async def test_a_pod_tells_its_model_by_label_until_its_server_does(api: ApiServer) -> None:
    api.put(PODS, "llm", "a", pod("vllm", "10.0.0.1", model="llama3-8b"))
    async with following(api, NAMED, Naming("model", (("phi4-mini", parse("app=vllm")),))) as seen:
        await until(lambda: seen.ready == [True])
        a, b = seen.fleet.all.endpoints

        assert (a.serves, b.serves) == ({"llama3-8b": "llama3-8b"}, {"phi4-mini": "phi4-mini"})
        a.models = {"other": "other"}
        assert a.serves == {"other": "other"}


async def test_thousands_of_changes_are_taken_together(api: ApiServer) -> None:
    count = 2000
    for n in range(count):
        api.put(PODS, "llm", f"pod-{n}", pod("vllm", f"10.1.{n // 250}.{n % 250 + 1}"))
    async with following(api, NAMED) as seen:
        relists = 0

        def relisted() -> None:
            nonlocal relists
            relists += 1

        seen.fleet.on_change = relisted
        await until(lambda: seen.ready == [True])
        for n in range(count):
            api.put(PODS, "llm", f"pod-{n}", pod("vllm", f"10.2.{n // 250}.{n % 250 + 1}"))
        await until(lambda: all(not e.address.startswith("10.1.") for e in seen.fleet.all.endpoints))

        assert len(seen.fleet.all.endpoints) == count + 2
        assert relists < count / 4


async def test_ready_is_after_the_first_look_at_rewrites(api: ApiServer) -> None:
    rules = [{"matches": [{"model": {"value": "gpt-4"}}], "targets": [{"modelRewrite": "phi4-mini"}]}]
    api.put(REWRITES, "llm", "r", of_pool("p", rules=rules))
    async with following(api, NAMED) as seen:
        known: list[tuple[str, ...]] = []
        seen.cluster.on_ready = lambda ready: known.append(seen.fleet.all.policies.names())
        await until(lambda: known)

        assert known == [("gpt-4",)]


async def test_a_pool_that_is_not_there_is_said_to_be_missing(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epp.edge.cluster.LOOK_S", 0.01)
    monkeypatch.setattr("epp.edge.cluster.PATIENCE_S", 0.1)
    wanted = Wanted("llm", named=frozenset({"llm/p", "llm/typo"}), labels=parse("team=a"))
    async with following(api, wanted) as seen:
        await until(lambda: seen.ready == [True])
        said = seen.conditions["inferencepools"]["llm"]
        await until(lambda: seen.notices)
        api.put(POOLS, "llm", "typo", pool("vllm", team="a"))
        await until(lambda: "inferencepools" not in seen.conditions)

        assert "there is no InferencePool llm/typo" in said
        assert [(n.name, n.reason) for n in seen.notices] == [("typo", "Missing")]


async def test_named_pools_are_waited_for(api: ApiServer) -> None:
    async with following(api, Wanted("llm", named=frozenset({"llm/p", "llm/late"}))) as seen:
        await until(lambda: len(seen.endpoints()) == 2)
        before = list(seen.ready)
        api.put(POOLS, "llm", "late", pool("vllm"))
        await until(lambda: seen.ready == [True])

        assert before == []


async def test_a_pool_of_another_protocol_is_not_used_and_said_so(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epp.edge.cluster.LOOK_S", 0.01)
    other = pool("vllm")
    other["spec"]["appProtocol"] = "kubernetes.io/h2c"
    api.put(POOLS, "llm", "p", other)
    async with following(api, NAMED) as seen:
        await until(lambda: seen.notices)
        said, before = seen.conditions["inferencepools"]["llm"], list(seen.ready)
        api.put(POOLS, "llm", "p", pool("vllm"))
        await until(lambda: seen.ready == [True])

        assert "kubernetes.io/h2c" in said
        assert (before, [n.reason for n in seen.notices]) == ([], ["NotUsed"])


async def test_what_cannot_be_used_is_told_of_each_object_once(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epp.edge.cluster.LOOK_S", 0.01)
    api.put(REWRITES, "llm", "bad", of_pool("p", rules=[{"targets": []}]))
    noted = pod("vllm", "10.0.0.2")
    noted["metadata"]["annotations"] = {"llm-d.ai/active-ports": "many"}
    api.put(PODS, "llm", "b", noted)
    async with following(api, NAMED) as seen:
        await until(lambda: len(seen.notices) == 2)
        api.remove(PODS, "llm", "a")
        api.remove(PODS, "llm", "b")
        await until(lambda: len(seen.notices) == 3)

        told = [(n.about.kind, n.name, n.reason) for n in seen.notices]
        assert sorted(told[:2]) == [
            ("InferenceModelRewrite", "bad", "NotUsed"),
            ("InferencePool", "p", "PodNotUsed"),
        ]
        assert told[2:] == [("InferencePool", "p", "NoEndpoints")]


async def test_definitions_that_are_installed_after_us_are_used(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epp.edge.cluster.ASK_AGAIN_S", 0.05)
    api.resources = {OLD_POOLS, PODS, OLD_OBJECTIVES}
    spec = {"selector": {"app": "vllm"}, "targetPortNumber": 8000, "extensionRef": {"name": "onehop"}}
    api.put(OLD_POOLS, "llm", "p", {"apiVersion": "inference.networking.x-k8s.io/v1alpha2", "spec": spec})
    api.put(OLD_POOLS, "llm", "only-old", {"apiVersion": "inference.networking.x-k8s.io/v1alpha2", "spec": spec})
    api.put(OBJECTIVES, "llm", "new", of_pool("p", priority=3))
    wanted = Wanted("llm", service="onehop")
    async with following(api, wanted) as seen:
        await until(lambda: len(seen.endpoints("llm/only-old")) == 2 and seen.ready == [True])
        kept = seen.fleet.all.endpoints[0]
        api.resources = set(ALL)
        api.put(POOLS, "llm", "p", pool("vllm"))
        await until(lambda: seen.fleet.pool("llm/p").policies.priority("new") == 3)
        await until(lambda: seen.endpoints("llm/only-old") == [])

        assert len(seen.endpoints()) == 2
        assert seen.fleet.all.endpoints[0] is kept


def old_pool(app: str, port: int = 8000) -> dict[str, Any]:
    spec = {"selector": {"app": app}, "targetPortNumber": port, "extensionRef": {"name": "onehop"}}
    return {"apiVersion": "inference.networking.x-k8s.io/v1alpha2", "spec": spec}


async def test_an_older_pool_is_ours_until_a_newer_one_is(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epp.edge.cluster.ASK_AGAIN_S", 0.05)
    api.resources = {OLD_POOLS, PODS}
    api.remove(POOLS, "llm", "p")
    api.put(POOLS, "llm", "foreign", pool("web"))
    api.put(OLD_POOLS, "llm", "p", old_pool("vllm"))
    async with following(api, NAMED) as running:
        await until(lambda: running.ready == [True])
        api.resources = {*ALL, OLD_POOLS}  # newer definitions are installed beside
        asked = len(api.asked)
        await until(lambda: [verb for verb, _ in api.asked[asked:]].count("discover") > 20)
        api.put(OLD_POOLS, "llm", "p", old_pool("vllm", 9000))
        await until(lambda: running.endpoints() == ["10.0.0.1:9000", "10.0.0.2:9000"])
        async with following(api, NAMED) as restarted:
            await until(lambda: restarted.ready == [True])
        api.put(POOLS, "llm", "p", pool("vllm"))
        await until(lambda: running.endpoints() == ["10.0.0.1:8000", "10.0.0.2:8000"])

        assert running.ready == [True]


async def test_what_one_namespace_has_no_more_is_no_matter_of_another(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epp.edge.cluster.ASK_AGAIN_S", 0.05)
    api.resources = {OLD_POOLS, PODS}
    api.put(PODS, "other", "a", pod("vllm", "10.0.1.1"))
    for namespace in ("llm", "other"):
        api.put(OLD_POOLS, namespace, "p", old_pool("vllm"))
    api.put(POOLS, "other", "p", pool("vllm"))
    async with following(api, Wanted("llm", named=frozenset({"llm/p", "other/p"}))) as seen:
        await until(lambda: seen.ready == [True] and len(seen.fleet.all.endpoints) == 3)
        sizes: list[int] = []
        seen.fleet.on_change = lambda: sizes.append(len(seen.fleet.all.endpoints))
        api.resources = {*ALL, OLD_POOLS}
        asked = len(api.asked)
        await until(lambda: api.asked[asked:].count(("watch", "inferencepools")) >= 2)

        assert sizes == []


async def test_an_event_is_about_the_object_that_kubectl_describes(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epp.edge.cluster.LOOK_S", 0.01)
    bad = api.put(REWRITES, "llm", "bad", of_pool("p", rules=[{"targets": []}]))
    dangling = api.put(OBJECTIVES, "llm", "dangling", of_pool("nobody", priority=1))
    async with following(api, NAMED) as seen:
        await until(lambda: len(seen.notices) == 2)

        uids = {notice.name: notice.uid for notice in seen.notices}
        assert uids == {"bad": bad["metadata"]["uid"], "dangling": dangling["metadata"]["uid"]}


async def test_alarms_are_asked_again_and_again(api: ApiServer) -> None:
    api.denied.add(OBJECTIVES)
    async with following(api, NAMED) as seen:
        alarms = seen.cluster.alarms()  # taken before anything is known, as the registry of metrics does
        await until(lambda: seen.ready == [True])
        await until(alarms["inferenceobjectives"])
        again = [bool(alarms["inferenceobjectives"]()) for _ in range(3)]
        api.denied.clear()

        assert again == [True] * 3
