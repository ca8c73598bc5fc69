"""Which endpoints a pool has, given its pods."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epp.datastore.membership import Members, Naming, declared_models, endpoints, host_port, selected
from epp.datastore.objects import InferencePool, Pod
from epp.datastore.pool import Listed, Pool
from epp.datastore.selectors import parse

APP = {"app": "vllm"}


def pool(*ports: int, selector: dict[str, str] | None = None) -> InferencePool:
    return InferencePool("ns", "p", "u", "g", {}, selector or APP, ports or (8000,))


def pod(name: str, ip: str = "10.0.0.1", **more: Any) -> Pod:
    return Pod(**{"namespace": "ns", "name": name, "uid": name, "ip": ip, "labels": APP, "ready": True, **more})


def addresses(members: Members) -> list[tuple[str, str]]:
    return [(listed.name, listed.address) for listed in members.listed]


def test_each_target_port_of_each_ready_pod_is_an_endpoint() -> None:
    members = endpoints(pool(8000, 8001), [pod("b", "10.0.0.2"), pod("a")])

    assert members.listed == (
        Listed("ns/a-rank-0", "10.0.0.1:8000", APP),
        Listed("ns/a-rank-1", "10.0.0.1:8001", APP),
        Listed("ns/b-rank-0", "10.0.0.2:8000", APP),
        Listed("ns/b-rank-1", "10.0.0.2:8001", APP),
    )
    assert members.notes == ()


def test_a_pod_that_was_made_anew_under_its_name_and_address_is_another_endpoint() -> None:
    over = Pool()
    over.relist(endpoints(pool(), [pod("a", uid="1")]).listed)
    (before,) = over.endpoints  # as a receipt holds it
    before.models, before.reachable = {"old": "old"}, False
    over.relist([])
    over.relist(endpoints(pool(), [pod("a", uid="2")]).listed)
    (after,) = over.endpoints
    over.relist(endpoints(pool(), [pod("a", uid="2", labels={**APP, "changed": "x"})]).listed)

    assert (after.models, after.reachable) == (None, True)
    assert over.endpoints == (after,)


@pytest.mark.parametrize(
    "other",
    [
        pod("a", ready=False),
        pod("a", labels={"app": "other"}),
        pod("a", labels={}),
        pod("a", namespace="elsewhere"),
    ],
)
def test_a_pod_that_is_not_ready_or_not_selected_is_none(other: Pod) -> None:
    assert endpoints(pool(), [other]) == Members()


def test_every_label_of_the_selector_must_be_there() -> None:
    both = {"app": "vllm", "tier": "gold"}
    wanted = pool(selector=both)

    assert endpoints(wanted, [pod("a")]) == Members()
    assert addresses(endpoints(wanted, [pod("a", labels={**both, "more": "x"})])) == [("ns/a-rank-0", "10.0.0.1:8000")]


def test_only_active_ports_are_endpoints_and_keep_their_rank() -> None:
    members = endpoints(pool(8000, 8001, 8002), [pod("a", active_ports=(8002, 8001))])

    assert addresses(members) == [("ns/a-rank-1", "10.0.0.1:8001"), ("ns/a-rank-2", "10.0.0.1:8002")]
    assert members.notes == ()


@pytest.mark.parametrize("active", [(), (9999,)])
def test_a_pod_without_an_active_target_port_is_noted(active: tuple[int, ...]) -> None:
    members = endpoints(pool(8000, 8001), [pod("a", active_ports=active)])

    assert members == Members(
        notes=("pod ns/a has none of the target ports 8000, 8001 active, so it gets no requests",)
    )


def test_what_is_wrong_with_a_pod_is_passed_on() -> None:
    assert endpoints(pool(), [pod("a", warnings=("odd",))]).notes == ("pod ns/a: odd",)
    assert endpoints(pool(), [pod("a", warnings=("odd",), ready=False)]).notes == ()


def test_ipv6_stands_in_brackets() -> None:
    assert addresses(endpoints(pool(), [pod("a", "fd00::7")])) == [("ns/a-rank-0", "[fd00::7]:8000")]
    assert host_port("fd00::7", 80) == "[fd00::7]:80"
    assert host_port("10.0.0.7", 80) == "10.0.0.7:80"


def test_of_two_pods_at_one_address_the_first_by_name_is_used() -> None:
    pods = [pod("b"), pod("a"), pod("c", active_ports=(8001,))]
    members = endpoints(pool(8000, 8001), pods)

    assert addresses(members) == [("ns/a-rank-0", "10.0.0.1:8000"), ("ns/a-rank-1", "10.0.0.1:8001")]
    assert members.notes == (
        "10.0.0.1:8000 is the address of ns/a-rank-0 and of ns/b-rank-0; only ns/a-rank-0 is used",
        "10.0.0.1:8001 is the address of ns/a-rank-1 and of ns/b-rank-1; only ns/a-rank-1 is used",
        "10.0.0.1:8001 is the address of ns/a-rank-1 and of ns/c-rank-1; only ns/a-rank-1 is used",
    )


def test_pods_by_label_need_no_pool_object() -> None:
    pods = [pod("a"), pod("b", "10.0.0.2", labels={"app": "vllm", "canary": ""}), pod("c", namespace="elsewhere")]
    members = selected("ns", parse("app in (vllm,sglang),!canary"), (8000, 8001), pods)

    assert addresses(members) == [("ns/a-rank-0", "10.0.0.1:8000"), ("ns/a-rank-1", "10.0.0.1:8001")]


PHI = ("phi4", parse("app=phi"))
LORA = ("lora-x", parse("app"))


@pytest.mark.parametrize(
    ("labels", "label", "serves", "declared"),
    [
        ({"model": "llama"}, "model", (), {"llama": "llama"}),
        ({"model": "llama", "app": "phi"}, "model", (PHI,), {"llama": "llama"}),
        ({"model": "", "app": "phi"}, "model", (PHI,), {"phi4": "phi4"}),
        ({"app": "phi"}, "model", (PHI, LORA), {"phi4": "phi4", "lora-x": "lora-x"}),
        ({"model": "llama", "app": "phi"}, "", (PHI,), {"phi4": "phi4"}),
        ({"app": "other"}, "model", (PHI,), None),
        ({"": "x"}, "", (), None),
        ({}, "", (), None),
    ],
)
def test_the_label_names_the_model_before_the_configuration_does(
    labels: dict[str, str], label: str, serves: tuple[Any, ...], declared: dict[str, str] | None
) -> None:
    assert declared_models(labels, label, serves) == declared
    named = endpoints(pool(selector={"x": "y"}), [pod("a", labels={**labels, "x": "y"})], Naming(label, serves))
    assert named.listed[0].declared == declared


PODS = st.lists(
    st.builds(
        pod,
        st.sampled_from("abcdef"),
        st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]),
        ready=st.booleans(),
        labels=st.sampled_from([APP, {}]),
        active_ports=st.none() | st.lists(st.sampled_from([8000, 8001, 9000])).map(tuple),
    ),
    unique_by=lambda pod: pod.name,
)


@given(PODS, st.randoms(use_true_random=False))
def test_the_order_of_the_pods_does_not_matter(pods: list[Pod], rng: Random) -> None:
    shuffled = pods[:]
    rng.shuffle(shuffled)
    members = endpoints(pool(8000, 8001), pods)

    assert endpoints(pool(8000, 8001), shuffled) == members
    assert len({listed.address for listed in members.listed}) == len(members.listed)
    assert len({listed.name for listed in members.listed}) == len(members.listed)
    assert {listed.address for listed in members.listed} == {
        host_port(pod.ip, port)
        for pod in pods
        for port in (8000, 8001)
        if pod.ready and pod.labels == APP and (pod.active_ports is None or port in pod.active_ports)
    }
