"""Kubernetes JSON, good and bad, and the fields that are named when it is bad."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from epp.datastore import objects
from epp.datastore.objects import (
    BadObject,
    InferencePool,
    Objective,
    Pod,
    PoolRef,
    Rewrite,
    RewriteRule,
    Target,
    decode_objective,
    decode_pod,
    decode_pool,
    decode_rewrite,
)

Tree = dict[str, Any]
Decoder = Callable[[Tree], object]

POOL: Tree = {
    "apiVersion": "inference.networking.k8s.io/v1",
    "kind": "InferencePool",
    "metadata": {"name": "llama", "namespace": "ns", "uid": "u-1", "labels": {"team": "a"}, "generation": 3},
    "spec": {
        "selector": {"matchLabels": {"app": "vllm", "llm-d.ai/role": "decode"}},
        "targetPorts": [{"number": 8000}, {"number": 8001}],
        "appProtocol": "kubernetes.io/h2c",
        "endpointPickerRef": {
            "group": "",
            "kind": "Service",
            "name": "picker",
            "port": {"number": 9002},
            "failureMode": "FailOpen",
        },
    },
    "status": {"parents": [{"parentRef": {"name": "gateway"}}]},
}
OLD_POOL: Tree = {
    "apiVersion": "inference.networking.x-k8s.io/v1alpha2",
    "kind": "InferencePool",
    "metadata": {"name": "llama", "namespace": "ns"},
    "spec": {
        "selector": {"app": "vllm"},
        "targetPortNumber": 8000,
        "extensionRef": {"name": "picker", "portNumber": 9003, "failureMode": "FailOpen"},
    },
}
POD: Tree = {
    "metadata": {
        "name": "llama-0",
        "namespace": "ns",
        "uid": "u-2",
        "labels": {"app": "vllm"},
        "annotations": {"other": "x"},
        "creationTimestamp": "2026-01-31T12:00:00Z",
    },
    "spec": {"containers": [{"name": "vllm"}]},
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
        "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
    },
}
OBJECTIVE: Tree = {
    "apiVersion": "llm-d.ai/v1alpha2",
    "metadata": {"name": "gold", "namespace": "ns"},
    "spec": {"priority": 10, "poolRef": {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "p"}},
}
REWRITE: Tree = {
    "apiVersion": "llm-d.ai/v1alpha2",
    "metadata": {"name": "canary", "namespace": "ns", "uid": "u-3", "creationTimestamp": "2026-01-31T12:00:00Z"},
    "spec": {
        "poolRef": {"name": "p"},
        "rules": [
            {
                "matches": [{"model": {"type": "Exact", "value": "a"}}, {"model": {"value": "b"}}],
                "targets": [{"modelRewrite": "c", "weight": 70}, {"modelRewrite": "d", "weight": 30}],
            },
            {"targets": [{"modelRewrite": "e"}]},
        ],
    },
}
GONE = object()


def changed(tree: Tree, path: str, value: object) -> Tree:
    """A copy with one field set, or without it for GONE; `path` as in messages, such as `spec.rules[0].targets`."""
    made = copy.deepcopy(tree)
    at: Any = made
    *way, last = [int(key) if key.isdigit() else key for key in re.findall(r"[^.\[\]]+", path)]
    for key in way:
        at = at[key]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return made


def test_a_pool_of_version_1() -> None:
    assert decode_pool(POOL) == InferencePool(
        namespace="ns",
        name="llama",
        uid="u-1",
        group="inference.networking.k8s.io",
        labels={"team": "a"},
        selector={"app": "vllm", "llm-d.ai/role": "decode"},
        ports=(8000, 8001),
        picker="picker",
        picker_port=9002,
        fail_open=True,
        app_protocol="kubernetes.io/h2c",
    )
    assert decode_pool(POOL).key == "ns/llama"


def test_a_pool_of_version_1alpha2() -> None:
    assert decode_pool(OLD_POOL) == InferencePool(
        namespace="ns",
        name="llama",
        uid="",
        group="inference.networking.x-k8s.io",
        labels={},
        selector={"app": "vllm"},
        ports=(8000,),
        picker="picker",
        picker_port=9003,
        fail_open=True,
        app_protocol="http",
    )


def test_a_pool_without_a_version_is_of_version_1() -> None:
    assert decode_pool(changed(POOL, "apiVersion", GONE)) == decode_pool(POOL)


@pytest.mark.parametrize("nothing", [GONE, None])
def test_what_a_pool_may_leave_out(nothing: object) -> None:
    bare = changed(changed(POOL, "spec.endpointPickerRef", nothing), "spec.appProtocol", nothing)
    pool = decode_pool(bare)

    assert (pool.picker, pool.picker_port, pool.fail_open, pool.app_protocol) == (None, None, False, "http")
    assert decode_pool(changed(POOL, "spec.endpointPickerRef.failureMode", nothing)).fail_open is False
    assert decode_pool(changed(POOL, "spec.endpointPickerRef.kind", nothing)).picker == "picker"
    assert decode_pool(changed(POOL, "spec.endpointPickerRef.port", nothing)).picker_port is None
    assert decode_pool(changed(OLD_POOL, "spec.extensionRef.portNumber", nothing)).picker_port == 9002
    assert decode_pool(changed(OLD_POOL, "spec.extensionRef", nothing)).picker is None


@pytest.mark.parametrize(
    ("pool", "path", "value"),
    [
        (POOL, "spec.endpointPickerRef.kind", "Deployment"),
        (POOL, "spec.endpointPickerRef.group", "multicluster.example"),
        (OLD_POOL, "spec.extensionRef.kind", "Deployment"),
        (OLD_POOL, "spec.extensionRef.group", "multicluster.example"),
    ],
)
def test_a_picker_that_is_no_service_names_none(pool: Tree, path: str, value: str) -> None:
    decoded = decode_pool(changed(pool, path, value))

    assert (decoded.picker, decoded.picker_port) == (None, None)


@pytest.mark.parametrize(
    ("pool", "path", "value", "message"),
    [
        (POOL, "apiVersion", "inference.networking.k8s.io/v2", "apiVersion: must be v1 or v1alpha2, not v2"),
        (POOL, "apiVersion", 1, "apiVersion: must be v1 or v1alpha2, not 1"),
        (POOL, "spec", GONE, "spec: is required"),
        (POOL, "spec", [], "spec: Expected `object`, got `array`"),
        (POOL, "spec.selector", GONE, "spec.selector: is required"),
        (POOL, "spec.selector", {"app": "vllm"}, "spec.selector.app: is not known to us"),
        (POOL, "spec.selector.matchExpressions", [], "spec.selector.matchExpressions: is not known to us"),
        (POOL, "spec.selector.matchLabels", {}, "spec.selector.matchLabels: Expected `object` of length >= 1"),
        (POOL, "spec.selector.matchLabels.app", 1, "spec.selector.matchLabels[...]: Expected `str`, got `int`"),
        (POOL, "spec.selector.matchLabels", {"a=b": "c"}, "spec.selector.matchLabels: 'a=b' is not a label's key"),
        (POOL, "spec.selector.matchLabels.app", "a,b", "spec.selector.matchLabels: app: 'a,b' is not a label's value"),
        (POOL, "spec.targetPorts", GONE, "spec.targetPorts: is required"),
        (POOL, "spec.targetPorts", [], "spec.targetPorts: Expected `array` of length >= 1"),
        (POOL, "spec.targetPorts[1].number", 8000, "spec.targetPorts: a port is listed twice"),
        (POOL, "spec.targetPorts[1].number", True, "spec.targetPorts[1].number: Expected `int`, got `bool`"),
        (POOL, "spec.targetPorts[1].number", "8001", "spec.targetPorts[1].number: Expected `int`, got `str`"),
        (POOL, "spec.targetPorts[1]", {}, "spec.targetPorts[1].number: is required"),
        (POOL, "spec.appProtocol", "grpc", "spec.appProtocol: Invalid enum value 'grpc'"),
        (POOL, "spec.appProtocol", "\ud800", "'utf-8' codec can't encode"),
        (POOL, "spec.endpointPickerRef.name", GONE, "spec.endpointPickerRef.name: is required"),
        (POOL, "spec.endpointPickerRef.failureMode", "Maybe", "spec.endpointPickerRef.failureMode: Invalid enum value"),
        (OLD_POOL, "spec.selector", {}, "spec.selector: Expected `object` of length >= 1"),
        (OLD_POOL, "spec.selector", {"app": "a b"}, "spec.selector: app: 'a b' is not a label's value"),
        (OLD_POOL, "spec.targetPortNumber", GONE, "spec.targetPortNumber: is required"),
        (OLD_POOL, "spec.targetPortNumber", 0, "spec.targetPortNumber: Expected `int` >= 1"),
        (OLD_POOL, "spec.extensionRef.portNumber", 65536, "spec.extensionRef.portNumber: Expected `int` <= 65535"),
    ],
)
def test_what_is_wrong_with_a_pool_is_named(pool: Tree, path: str, value: object, message: str) -> None:
    with pytest.raises(BadObject) as caught:
        decode_pool(changed(pool, path, value))

    assert caught.value.key == "ns/llama"
    assert str(caught.value).startswith(f"ns/llama: {message}")


def test_a_pod_that_is_ready() -> None:
    assert decode_pod(POD) == Pod("ns", "llama-0", "u-2", "10.0.0.7", {"app": "vllm"}, ready=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.deletionTimestamp", "2026-01-31T12:00:00Z"),
        ("status.phase", "Succeeded"),
        ("status.phase", "Failed"),
        ("status.conditions[1].status", "False"),
        ("status.conditions[1].status", "Unknown"),
        ("status.conditions", []),
        ("status.conditions", None),
        ("status.podIP", ""),
        ("status.podIP", GONE),
        ("status", GONE),
        ("status", {}),
    ],
)
def test_a_pod_that_is_not_ready(path: str, value: object) -> None:
    assert decode_pod(changed(POD, path, value)).ready is False


@pytest.mark.parametrize("ip", ["fd00::7", "FD00:0::7"])
def test_the_address_of_a_pod_is_in_its_short_form(ip: str) -> None:
    assert decode_pod(changed(POD, "status.podIP", ip)).ip == "fd00::7"


NEW, LEGACY = "llm-d.ai/active-ports", "inference.networking.k8s.io/active-ports"


@pytest.mark.parametrize(
    ("annotations", "active"),
    [
        ({}, None),
        (None, None),
        ({NEW: "8000"}, (8000,)),
        ({NEW: " 8001 , 8000,8001"}, (8001, 8000)),
        ({LEGACY: "8001"}, (8001,)),
        ({NEW: "8000", LEGACY: "8001"}, (8000,)),
        ({NEW: ""}, ()),
        ({NEW: " "}, ()),
        ({NEW: "", LEGACY: "8001"}, ()),
    ],
)
def test_the_active_ports_of_a_pod(annotations: object, active: tuple[int, ...] | None) -> None:
    pod = decode_pod(changed(POD, "metadata.annotations", annotations))

    assert (pod.active_ports, pod.warnings) == (active, ())


@pytest.mark.parametrize("text", ["8000,", "x", "8000;8001", "0", "65536", "-1", "+8000", "8_000", "08000", "٨", "[1]"])
@pytest.mark.parametrize("annotation", [NEW, LEGACY])
def test_malformed_active_ports_are_a_warning_and_leave_all_active(text: str, annotation: str) -> None:
    pod = decode_pod(changed(POD, "metadata.annotations", {annotation: text}))

    assert pod.active_ports is None
    assert pod.ready is True
    assert len(pod.warnings) == 1
    assert pod.warnings[0].startswith(f"annotation {annotation}: ")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metadata.labels", {"a": 1}, "metadata.labels[...]: Expected `str`, got `int`"),
        ("status.podIP", "10.0.0", "status.podIP: 10.0.0 is not an IP address of a pod"),
        ("status.podIP", "0.0.0.0", "status.podIP: 0.0.0.0 is not an IP address of a pod"),
        ("status.podIP", "fe80::1%eth0", "status.podIP: fe80::1%eth0 is not an IP address of a pod"),
        ("status.podIP", "10.0.0.7:80", "status.podIP: 10.0.0.7:80 is not an IP address of a pod"),
        ("status.conditions", {}, "status.conditions: Expected `array`, got `object`"),
    ],
)
def test_what_is_wrong_with_a_pod_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(BadObject) as caught:
        decode_pod(changed(POD, path, value))

    assert str(caught.value) == f"ns/llama-0: {message}"


@pytest.mark.parametrize(
    ("decode", "tree"),
    [(decode_pool, POOL), (decode_pod, POD), (decode_objective, OBJECTIVE), (decode_rewrite, REWRITE)],
)
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metadata", GONE, "?/?: metadata: is required"),
        ("metadata", "x", "?/?: metadata: Expected `object`, got `str`"),
        ("metadata.name", GONE, "ns/?: metadata.name: is required"),
        ("metadata.name", "a/b", "ns/a/b: metadata.name: is not a name"),
        ("metadata.name", "a\nb", "ns/a\\nb: metadata.name: is not a name"),
        ("metadata.name", "a" * 254, f"ns/{'a' * 60}...: metadata.name: Expected `str` of length <= 253"),
        ("metadata.namespace", ["x"], "a list/"),
        ("metadata.namespace", "Ns", "Ns/"),
    ],
)
def test_every_object_needs_a_name(decode: Decoder, tree: Tree, path: str, value: object, message: str) -> None:
    with pytest.raises(BadObject) as caught:
        decode(changed(tree, path, value))

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_objective() -> None:
    ours = PoolRef("inference.networking.k8s.io", "p")

    assert decode_objective(OBJECTIVE) == Objective("ns", "gold", ours, 10)
    assert decode_objective(changed(OBJECTIVE, "spec.priority", -1)).priority == -1
    assert decode_objective(changed(OBJECTIVE, "spec.priority", GONE)).priority == 0
    assert decode_objective(changed(OBJECTIVE, "spec.priority", None)).priority == 0
    assert decode_objective(changed(OBJECTIVE, "spec.poolRef.group", GONE)).pool == ours
    assert decode_objective(changed(OBJECTIVE, "spec.poolRef.group", "")).pool == PoolRef("", "p")
    assert decode_objective(changed(OBJECTIVE, "apiVersion", "inference.networking.x-k8s.io/v1alpha2")).pool == ours


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec.priority", "10", "spec.priority: Expected `int`, got `str`"),
        ("spec.priority", 2**31, "spec.priority: Expected `int` <= 2147483647"),
        ("spec.poolRef", GONE, "spec.poolRef: is required"),
        ("spec.poolRef.kind", "Service", "spec.poolRef.kind: Invalid enum value 'Service'"),
        ("spec.poolRef.name", "", "spec.poolRef.name: Expected `str` of length >= 1"),
    ],
)
def test_what_is_wrong_with_an_objective_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(BadObject) as caught:
        decode_objective(changed(OBJECTIVE, path, value))

    assert str(caught.value) == f"ns/gold: {message}"


def test_a_rewrite() -> None:
    assert decode_rewrite(REWRITE) == Rewrite(
        namespace="ns",
        name="canary",
        created="2026-01-31T12:00:00.000000+00:00",
        uid="u-3",
        pool=PoolRef("inference.networking.k8s.io", "p"),
        rules=(
            RewriteRule(("a", "b"), (Target("c", 70), Target("d", 30))),
            RewriteRule((), (Target("e"),)),
        ),
    )


def test_what_a_rewrite_may_leave_out() -> None:
    assert decode_rewrite(changed(REWRITE, "spec.rules", [])).rules == ()
    assert decode_rewrite(changed(REWRITE, "spec.rules[1].matches", None)).rules[1].matches == ()
    assert decode_rewrite(changed(REWRITE, "spec.rules[1].matches", [])).rules[1].matches == ()
    assert decode_rewrite(changed(REWRITE, "metadata.creationTimestamp", None)).created == ""


def test_the_age_of_a_rewrite_sorts_as_text() -> None:
    oldest_first = [
        "2025-12-31T23:59:59Z",
        "2026-01-01T00:59:59.5+01:00",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.25Z",
        "2026-01-01T00:00:00-01:00",
    ]
    created = [decode_rewrite(changed(REWRITE, "metadata.creationTimestamp", text)).created for text in oldest_first]

    assert created == sorted(created)
    assert len(set(created)) == len(created)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("spec.rules", GONE, "spec.rules: is required"),
        ("spec.more", 1, "spec.more: is not known to us"),
        ("spec.rules[0].filters", [], "spec.rules[0].filters: is not known to us"),
        ("spec.rules[0].matches[1].headers", [], "spec.rules[0].matches[1].headers: is not known to us"),
        ("spec.rules[0].matches[0]", {}, "spec.rules[0].matches[0].model: is required"),
        ("spec.rules[0].matches[0].model.type", "Regex", "spec.rules[0].matches[0].model.type: Invalid enum value"),
        ("spec.rules[0].matches[0].model.case", "no", "spec.rules[0].matches[0].model.case: is not known to us"),
        ("spec.rules[0].matches[0].model.value", "", "spec.rules[0].matches[0].model.value: is empty or holds control"),
        ("spec.rules[1].targets", GONE, "spec.rules[1].targets: is required"),
        ("spec.rules[1].targets", [], "spec.rules[1].targets: Expected `array` of length >= 1"),
        ("spec.rules[1].targets[0].header", "x", "spec.rules[1].targets[0].header: is not known to us"),
        ("spec.rules[1].targets[0].modelRewrite", "", "spec.rules[1].targets[0].modelRewrite: is empty or holds"),
        ("spec.rules[1].targets[0].modelRewrite", "a\r\nb", "spec.rules[1].targets[0].modelRewrite: is empty or holds"),
        ("spec.rules[1].targets[0].weight", 0, "spec.rules[1].targets[0].weight: Expected `int` >= 1"),
        ("spec.poolRef.kind", "Service", "spec.poolRef.kind: Invalid enum value 'Service'"),
        ("metadata.creationTimestamp", "yesterday", "metadata.creationTimestamp: yesterday is not a time such as"),
        ("metadata.creationTimestamp", "2026-01-31", "metadata.creationTimestamp: 2026-01-31 is not a time such as"),
        ("metadata.creationTimestamp", "0001-01-01T00:00:00+23:00", "metadata.creationTimestamp: 0001-01-01T00:00"),
    ],
)
def test_what_is_wrong_with_a_rewrite_is_named(path: str, value: object, message: str) -> None:
    with pytest.raises(BadObject) as caught:
        decode_rewrite(changed(REWRITE, path, value))

    assert str(caught.value).startswith(f"ns/canary: {message}")


DECODERS = [(decode_pool, POOL), (decode_pool, OLD_POOL), (decode_pod, POD),
            (decode_objective, OBJECTIVE), (decode_rewrite, REWRITE)]  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
NEAR = st.sampled_from([0, -1, 10**400, 65536, 8000.0, float("nan"), "", "\ud800", "a,b", "x" * 300, "\x00", [[]], {}])
JSON = st.recursive(
    SCALARS | NEAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def paths(tree: object, path: str = "") -> Iterator[str]:
    """Every field of a tree, as `changed` names it."""
    if path:
        yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            # Keys with dots are labels; the whole map is changed instead.
            if "." not in key:
                yield from paths(value, f"{path}.{key}".lstrip("."))
    if isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from paths(value, f"{path}[{index}]")


@given(st.sampled_from(DECODERS), st.data())
def test_a_value_or_bad_object_whatever_one_field_is(decoder: tuple[Decoder, Tree], data: st.DataObject) -> None:
    decode, tree = decoder
    path = data.draw(st.sampled_from(list(paths(tree))))
    spoilt = changed(tree, path, data.draw(JSON | st.just(GONE)))

    assert outcome(decode, spoilt) in OUTCOMES


@given(st.sampled_from(DECODERS), JSON, JSON, JSON)
def test_a_value_or_bad_object_whatever_the_tree_is(
    decoder: tuple[Decoder, Tree], whole: Any, metadata: Any, spec: Any
) -> None:
    decode, _ = decoder

    assert outcome(decode, whole) in OUTCOMES
    assert outcome(decode, {"metadata": metadata, "spec": spec, "status": spec}) is BadObject
    assert outcome(decode, {"metadata": {"name": "a", "namespace": "b"}, "spec": spec, "status": spec}) in OUTCOMES


OUTCOMES = (BadObject, InferencePool, Pod, Objective, Rewrite)


def outcome(decode: Decoder, tree: Any) -> type:
    try:
        return type(decode(tree))
    except BadObject as error:
        said = str(error)
    assert said.isprintable() or not said.isascii()
    assert len(said) < 500
    return BadObject


# The bounds of the resource definitions as their projects publish them.


def definition(plural: str) -> Tree:
    folder = os.environ.get("ONEHOP_COMPAT_DIR")
    if not folder:
        pytest.skip("ONEHOP_COMPAT_DIR is unset: our bounds are not compared with the resource definitions")
    (file,) = Path(folder).rglob(f"*_{plural}.yaml")
    found: Tree = yaml.safe_load(file.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def at(schema: Tree, path: str) -> Tree:
    """The schema of a field of ours: `spec.rules[0].targets`."""
    for key in re.findall(r"[^.\[\]]+", path):
        schema = schema["items"] if key.isdigit() else schema.get("properties", {}).get(key, schema)
    return schema


BOUNDS = [
    ("inferencepools", decode_pool, POOL, "spec.targetPorts[0].number"),
    ("inferencepools", decode_pool, POOL, "spec.targetPorts"),
    ("inferencepools", decode_pool, POOL, "spec.selector.matchLabels"),
    ("inferencepools", decode_pool, POOL, "spec.appProtocol"),
    ("inferencepools", decode_pool, POOL, "spec.endpointPickerRef.failureMode"),
    ("inferencepools", decode_pool, POOL, "spec.endpointPickerRef.port.number"),
    ("inferenceobjectives", decode_objective, OBJECTIVE, "spec.priority"),
    ("inferencemodelrewrites", decode_rewrite, REWRITE, "spec.rules[0].targets[0].weight"),
    ("inferencemodelrewrites", decode_rewrite, REWRITE, "spec.rules[0].targets"),
    ("inferencemodelrewrites", decode_rewrite, REWRITE, "spec.rules[0].matches[0].model.type"),
    ("inferencemodelrewrites", decode_rewrite, REWRITE, "spec.rules[0].matches[0].model.value"),
]


@pytest.mark.parametrize(("plural", "decode", "tree", "path"), BOUNDS)
def test_our_bounds_are_those_of_the_definitions(plural: str, decode: Decoder, tree: Tree, path: str) -> None:
    inside, outside = edges(at(definition(plural), path), path)

    assert inside, "the definition has bounds here"
    assert outside
    for value in inside:
        assert outcome(decode, changed(tree, path, value)) is not BadObject, value
    for value in outside:
        assert outcome(decode, changed(tree, path, value)) is BadObject, value


def edges(schema: Tree, path: str) -> tuple[list[object], list[object]]:
    """The outermost values that a schema allows, and the nearest that it does not."""
    if "enum" in schema:
        return list(schema["enum"]), ["no-such-value"]
    if schema["type"] == "integer":
        least, most = schema.get("minimum", -(2**31)), schema.get("maximum", 2**31 - 1)
        return [least, most], [least - 1, most + 1]
    if schema["type"] == "string":
        return ["x" * schema["minLength"]], ["x" * (schema["minLength"] - 1)]
    kind = "Properties" if schema["type"] == "object" else "Items"
    least, most = schema[f"min{kind}"], schema.get(f"max{kind}")
    sizes, wrong = [least], [least - 1]
    if most is not None:
        sizes.append(most)
        wrong.append(most + 1)
    return [many(path, size) for size in sizes], [many(path, size) for size in wrong]


def many(path: str, size: int) -> object:
    if path.endswith("matchLabels"):
        return {f"key-{n}": "value" for n in range(size)}
    return [{"number": 8000 + n} if path.endswith("targetPorts") else {"modelRewrite": f"m-{n}"} for n in range(size)]


def test_our_defaults_are_those_of_the_definitions() -> None:
    pools, objectives = definition("inferencepools"), definition("inferenceobjectives")
    rewrites = definition("inferencemodelrewrites")

    assert at(pools, "spec.endpointPickerRef.failureMode")["default"] == "FailClose"
    assert at(pools, "spec.endpointPickerRef.kind")["default"] == "Service"
    assert at(pools, "spec.appProtocol")["default"] == InferencePool("", "", "", "", {}, {}, ()).app_protocol
    for schema in (objectives, rewrites):
        assert at(schema, "spec.poolRef.group")["default"] == objects.POOL_GROUP
        assert at(schema, "spec.poolRef.kind")["default"] == "InferencePool"
    assert at(rewrites, "spec.rules[0].matches[0].model.type")["default"] == "Exact"


def test_we_know_every_field_that_a_rewrite_can_have() -> None:
    spec = at(definition("inferencemodelrewrites"), "spec")
    rule = at(spec, "rules[0]")

    assert set(spec["properties"]) == {"poolRef", "rules"}
    assert set(rule["properties"]) == {"matches", "targets"}
    assert set(at(rule, "matches[0]")["properties"]) == {"model"}
    assert set(at(rule, "matches[0].model")["properties"]) == {"type", "value"}
    assert set(at(rule, "targets[0]")["properties"]) == {"modelRewrite", "weight"}


def test_the_pools_of_the_guide_are_pools() -> None:
    folder = os.environ.get("ONEHOP_COMPAT_DIR")
    if not folder:
        pytest.skip("ONEHOP_COMPAT_DIR is unset: the guide's pools are not read")
    texts = [file.read_text() for file in sorted(Path(folder).glob("guide/inferencepool-*.yaml"))]
    trees = [tree for text in texts for tree in yaml.safe_load_all(text) if tree["kind"] == "InferencePool"]
    pools = [decode_pool({**tree, "metadata": {**tree["metadata"], "namespace": "default"}}) for tree in trees]

    assert [(pool.picker, pool.picker_port, pool.ports) for pool in pools] == [
        ("vllm-llama3-8b-instruct-epp", 9002, (8000,)),
        ("vllm-phi4-mini-epp", 9002, (8000,)),
    ]
