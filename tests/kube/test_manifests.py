"""Every object that we tell people to apply, tried on a real API server: a dry run that refuses unknown fields.

What a chart renders for each of its example values and of the guide's, and every manifest of the guide.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kube.api import Api, Said

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "onehop"
GUIDE = ROOT / "helm" / "guide"
VALUES = sorted([*(CHART / "ci").glob("*.yaml"), *GUIDE.glob("**/*values.yaml")])
MANIFESTS = sorted(file for file in GUIDE.glob("**/*.yaml") if file not in VALUES)
AUTOSCALING = sorted((ROOT / "helm" / "autoscaling").glob("*.yaml"))
# Files for kind, istioctl and kubectl itself, which no API server ever sees.
FOR_OTHERS = {"kind.x-k8s.io", "install.istio.io", "kustomize.config.k8s.io"}
# What is off by default, so that every template is tried with every example; the monitors exclude each other.
BESIDE = ["networkPolicy.create", "podDisruptionBudget.create", "monitoring.prometheusRule.create"]
TURNED_ON = {
    "as it is": [],
    "with a service monitor": [*BESIDE, "monitoring.serviceMonitor.create", "monitoring.dashboard.create"],
    "with a pod monitor": [*BESIDE, "monitoring.podMonitor.create", "autoscaling.create"],
}
# Several pods that all work; else the chart has no use for autoscaling.
WITH_AUTOSCALING = ["--set", "highAvailability=activeActive"]
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job"}
Object = dict[str, Any]


def shown(file: Path) -> str:
    return str(file.relative_to(ROOT / "helm"))


@pytest.mark.parametrize("values", VALUES, ids=shown)
@pytest.mark.parametrize("on", TURNED_ON.values(), ids=TURNED_ON)
async def test_the_server_takes_everything_that_the_chart_renders(
    assets: Path, admin: Api, namespace: str, values: Path, on: list[str]
) -> None:
    rendered = list(render(assets, values, namespace, on))

    assert rendered
    assert await refusals(admin, rendered, namespace) == []


def test_every_kind_of_object_that_the_chart_knows_is_tried(assets: Path) -> None:
    known = {
        kind for file in (CHART / "templates").iterdir() for kind in re.findall(r"(?m)^kind: (\w+)$", file.read_text())
    }
    tried = {item["kind"] for values in VALUES for on in TURNED_ON.values() for item in render(assets, values, "x", on)}

    assert known
    assert known - tried == set()


@pytest.mark.parametrize("file", [*MANIFESTS, *AUTOSCALING], ids=shown)
async def test_the_server_takes_every_manifest_of_the_guide(admin: Api, namespace: str, file: Path) -> None:
    assert await refusals(admin, list(manifests(file)), namespace) == []


async def test_what_the_server_would_refuse_is_named(assets: Path, admin: Api, namespace: str) -> None:
    """Or the tests above would say nothing."""
    items = {item["kind"]: item for item in render(assets, CHART / "ci" / "one-pool-values.yaml", namespace)}
    items["Deployment"]["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    items["InferencePool"]["spec"]["targetPorts"] = []
    items["Service"]["kind"] = "Servise"

    said = await refusals(admin, [items[kind] for kind in ("Deployment", "InferencePool", "Service")], namespace)
    expected = ["Deployment .*readynessProbe", "InferencePool .*targetPorts", "Servise .*no kind Servise"]
    assert [bool(re.match(pattern, text)) for pattern, text in zip(expected, said, strict=True)] == [True] * 3, said


@pytest.mark.parametrize("values", VALUES, ids=shown)
async def test_our_pods_are_let_into_a_namespace_that_wants_them_restricted(
    assets: Path, admin: Api, namespace: str, values: Path
) -> None:
    strict = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await admin.patch({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, strict)
    pods = [pod_of(item) for item in render(assets, values, namespace) if item["kind"] in WORKLOADS]
    for pod in pods:
        pod["metadata"]["namespace"] = namespace

    assert pods
    assert await refusals(admin, pods, namespace) == []


@pytest.mark.parametrize("values", VALUES, ids=shown)
async def test_the_chart_installs_twice_and_the_second_time_changes_nothing(
    assets: Path, admin: Api, namespace: str, kubeconfig: Callable[..., Path], values: Path
) -> None:
    """With helm itself, which looks things up on the server that a rendering to a file does not see."""
    await make_namespaces(admin, list(render(assets, values, namespace)))
    where = ["--namespace", namespace, "--kubeconfig", kubeconfig()]
    before: dict[str, Object] = {}
    for _ in range(2):
        await helm(assets, "upgrade", "--install", "onehop", CHART, "--values", values, *where)
        text = await helm(assets, "get", "manifest", "onehop", *where)
        stored = {
            f"{item['kind']}/{item['metadata']['name']}": content(await admin.get(item, namespace))
            for item in yaml.safe_load_all(text)
            if item
        }
        assert before in ({}, stored)
        before = stored
    assert before
    await helm(assets, "uninstall", "onehop", *where)


async def refusals(admin: Api, items: list[Object], namespace: str) -> list[str]:
    """What the server would refuse, with its reasons."""
    await make_namespaces(admin, items)
    said = []
    for item in items:
        about = f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
        admin.warnings.clear()
        try:
            try:
                await admin.create(item, namespace, dryRun="All", fieldValidation="Strict")
            except Said as refused:
                if refused.status != 409:
                    raise
                await admin.apply(item, namespace, dryRun="All", fieldValidation="Strict")  # it is there already
        except Said as refused:
            said.append(f"{about}: {refused.message}")
        said += [f"{about}: warning {warning}" for warning in admin.warnings]
    return said


async def make_namespaces(admin: Api, items: list[Object]) -> None:
    """Those that objects are in, which a dry run does not make."""
    names = {item["metadata"].get("namespace") for item in items}
    names |= {item["metadata"]["name"] for item in items if item["kind"] == "Namespace"}
    for name in sorted(names - {None}):
        await admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


def render(assets: Path, values: Path, namespace: str, on: Iterable[str] = ()) -> Iterator[Object]:
    """The objects of a chart with these values, and with some switches turned on."""
    command = [assets / "bin" / "helm", "template", "onehop", CHART, "--namespace", namespace, "--values", values]
    command += WITH_AUTOSCALING if "autoscaling.create" in on else []
    command += [word for switch in on for word in ("--set", f"{switch}=true")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    for item in yaml.safe_load_all(ran.stdout):
        if item:
            yield item


def manifests(file: Path) -> Iterator[Object]:
    """The objects in a file, lists taken apart; what is not for an API server is left out."""
    for item in yaml.safe_load_all(file.read_text()):
        if not isinstance(item, dict) or not {"apiVersion", "kind"} <= item.keys():
            continue
        if item["apiVersion"].partition("/")[0] not in FOR_OTHERS:
            yield from item["items"] if item["kind"] == "List" else [item]


def pod_of(workload: Object) -> Object:
    """The pod that a controller would make of a workload."""
    template = workload["spec"]["template"]
    metadata = {"name": workload["metadata"]["name"], "labels": template["metadata"].get("labels", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def content(item: Object) -> Object:
    """The object without what the server notes beside it."""
    return {key: value for key, value in item.items() if key not in {"metadata", "status"}} | {
        "labels": item["metadata"].get("labels"),
        "annotations": item["metadata"].get("annotations"),
    }


async def helm(assets: Path, *words: str | Path) -> str:
    """Standard output of helm, while our own loop goes on."""
    process = await asyncio.create_subprocess_exec(
        assets / "bin" / "helm", *map(str, words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()
