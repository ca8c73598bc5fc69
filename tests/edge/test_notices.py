"""What is so is said once, and again when it becomes so again."""

from __future__ import annotations

from epp.edge.kube.client import Resource
from epp.edge.notices import AT_ONCE_MAX, Notice, Notices

POOLS = Resource("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")


def notice(name: str) -> Notice:
    return Notice(POOLS, "llm", name, "uid", "NoEndpoints", "no pod is ready")


def test_each_is_told_when_it_becomes_so() -> None:
    told: list[str] = []
    notices = Notices(lambda n: told.append(n.name))
    for found in (["a"], ["a", "b"], ["b"], ["b", "a"], []):
        notices.now(map(notice, found))

    assert told == ["a", "b", "a"]


def test_a_flood_has_a_bound() -> None:
    told: list[Notice] = []
    notices = Notices(told.append)
    notices.now(notice(f"{n}") for n in range(10 * AT_ONCE_MAX))

    assert len(told) == AT_ONCE_MAX
