"""Objects may be anything: a check says what it makes of them, and never raises."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from epp.doctor.checks import CHECKS
from epp.doctor.cluster import Cluster
from epp.doctor.findings import Level, examine
from tests.doctor import site as make
from tests.doctor.site import Tree, running, site, without_filter

JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, "", "x", "true", "9002", "a/b", "--", "[", "$(X)", "outbound|9||x", [], [None], ["x"], [[]],
    {}, {"x": None}, {"name": 3}, [{}], [{"name": []}], {"matchLabels": 1}, "\x00", "ünï", 2**70,
)  # fmt: skip


def old_guide(objects: dict[str, Tree]) -> None:
    """A second filter, shells, and objects of every kind that is read."""
    objects["filter"] = make.ext_proc("envoy.filters.http.ext_proc", "INSERT_FIRST", allow_mode_override=True)
    objects["operator"] = make.made("IstioOperator", "install.istio.io/v1alpha1", "o", spec={"values": {"pilot": {}}})
    objects["patch"] = make.made("EnvoyPatchPolicy", "gateway.envoyproxy.io/v1alpha1", "p", spec={"jsonPatches": [{}]})
    objects["rewrite"] = make.made(
        "InferenceModelRewrite",
        "llm-d.ai/v1alpha2",
        "r",
        spec={"poolRef": {"name": "llama"}, "rules": [{"matches": [{}]}]},
    )
    make.container(objects["llama"])["command"] = ["sh", "-c", "vllm serve 'x"]


def spoil(tree: Any, rng: Random) -> Any:
    """The tree with one thing in it replaced or gone."""
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.15:
        return rng.choice(JUNK)
    if isinstance(tree, list):
        position = rng.randrange(len(tree))
        return [spoil(each, rng) if at == position else each for at, each in enumerate(tree)]
    key = rng.choice(list(tree))
    if rng.random() < 0.1:
        return {other: value for other, value in tree.items() if other != key}
    return {**tree, key: spoil(tree[key], rng)}


@settings(max_examples=400)
@given(st.integers(0, 2**32), st.booleans(), st.integers(1, 8), st.sampled_from([running, without_filter, old_guide]))
def test_no_object_can_make_a_check_raise(seed: int, live: bool, times: int, edit: Any) -> None:
    rng = Random(seed)
    items: list[Any] = site(edit)
    for _ in range(times):
        position = rng.randrange(len(items))
        items[position] = spoil(items[position], rng)
    results = list(examine(Cluster(items, live=live), CHECKS))

    assert [result.check for result in results] == list(CHECKS)
    assert all(result.reason for result in results if result.level is Level.NOT_CHECKED and not result.findings)


@settings(max_examples=100)
@given(st.permutations(range(len(site()))))
def test_the_order_of_objects_changes_nothing(order: list[int]) -> None:
    items = site(without_filter, lambda objects: objects.pop("tls"))
    shuffled = [items[position] for position in order if position < len(items)]

    levels = [[result.level for result in examine(Cluster(each), CHECKS)] for each in (items, shuffled)]
    assert levels[0] == levels[1]
