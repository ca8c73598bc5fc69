"""The examples of autoscaling at work: load on a real OneHop changes what a real HPA wants of a Deployment, and back.

Real are Envoy, OneHop, Prometheus, prometheus-adapter with the example's own rules, the API server and its controllers.
Simulated are the model servers (there are as many all the time, whatever the Deployment says) and the kubelet. KEDA's
operator does not run: the HPA that it makes of a ScaledObject is written out here as its documentation says
(https://keda.sh/docs/2.18/reference/scaledobject-spec/), and its queries are answered by the adapter.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from epp.cli.stack import running
from tests.e2e.client import Site
from tests.e2e.conftest import plan
from tests.kube.api import Api, Object
from tests.kube.cluster import Cluster
from tests.kube.scaling import Kubelet, deployment, scaling
from tests.observability.prometheus import Prometheus, watching
from tests.observability.run import LONG
from tests.observability.test_autoscaling import document

pytestmark = pytest.mark.timeout(420)

MODEL = "llama3-8b"
AT_ONCE, LOAD_S = 24, 15.0
UP_S, DOWN_S = 60.0, 240.0
EAGER = {
    "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 20, "periodSeconds": 1}]}
}
NAMES = "s{}-prometheus"


async def test_load_scales_the_target_up_and_its_end_down_again(
    assets: Path, cluster: Cluster, admin: Api, tmp_path: Path
) -> None:
    hpa, scaled = document("hpa"), document("keda")
    rules = yaml.safe_load(document("prometheus-adapter")["data"]["config.yaml"])
    rules["externalRules"] += [rule(n, trigger) for n, trigger in enumerate(scaled["spec"]["triggers"])]
    made = plan(tmp_path, wiring="duplex", time_factor=1.0, replicas=2)
    spaces = {"by-adapter": hpa, "by-keda": of_keda(scaled)}
    async with (
        running(made) as stack,
        aiohttp.ClientSession() as http,
        watching(f"127.0.0.1:{stack.metrics_port}", [], tmp_path) as prometheus,
        scaling(cluster, admin, assets / "bin", tmp_path, prometheus=prometheus.url, rules=rules),
        Kubelet(admin, "by-adapter").running(),
        Kubelet(admin, "by-keda").running(),
    ):
        await prometheus.until("up == 1")
        for space, autoscaler in spaces.items():
            await admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
            await admin.create(deployment(MODEL, 2), space)
            await admin.create(autoscaler, space)
        await until(UP_S, admin, spaces, lambda one: one["able"])
        idle = await activity(prometheus, scaled)

        await load(Site(stack, http))
        grown = await until(UP_S, admin, spaces, lambda one: one["replicas"] > 2 and one["pods"] == one["replicas"])
        busy = await activity(prometheus, scaled)

        held = await until(DOWN_S, admin, spaces, lambda one: one["reason"] == "ScaleDownStabilized")
        for space, autoscaler in spaces.items():  # or it would take ten minutes, which is what the examples want
            await admin.patch(autoscaler, {"spec": {"behavior": EAGER}}, space)
        back = await until(DOWN_S, admin, spaces, lambda one: one["replicas"] <= 2)
        async with asyncio.timeout(DOWN_S):
            while await activity(prometheus, scaled):
                await asyncio.sleep(1.0)

    assert all(one["replicas"] > 2 for one in grown.values())
    assert held.keys() == back.keys() == spaces.keys()
    assert back["by-adapter"]["replicas"] == hpa["spec"]["minReplicas"]
    assert (idle, busy) == (False, True), "KEDA would wake it from zero for the load, and then let it sleep"


async def load(site: Site) -> None:
    """More long prompts than are computed in time, for a while."""
    loop = asyncio.get_running_loop()
    ends, number = loop.time() + LOAD_S, iter(range(1_000_000))

    async def client() -> None:
        while loop.time() < ends:
            ask = {"model": MODEL, "messages": [{"role": "user", "content": f"{next(number)} {LONG}"}], "max_tokens": 8}
            await site.post(ask)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


async def until(
    most_s: float, admin: Api, spaces: dict[str, Object], what: Callable[[dict[str, Any]], bool]
) -> dict[str, dict[str, Any]]:
    """The state of each HPA and its Deployment at the first moment at which this holds of it."""
    found: dict[str, dict[str, Any]] = {}
    last: dict[str, Any] = {}
    try:
        async with asyncio.timeout(most_s):
            while found.keys() != spaces.keys():
                for space, autoscaler in spaces.items():
                    last[space] = await state(admin, autoscaler, space)
                    if what(last[space]):
                        found.setdefault(space, last[space])
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(f"never so in {most_s} s: {last}") from None
    return found


async def state(admin: Api, autoscaler: Object, space: str) -> dict[str, Any]:
    scaled = await admin.get(deployment(MODEL, 0), space)
    status = (await admin.get(autoscaler, space)).get("status", {})
    told = {each["type"]: each for each in status.get("conditions") or ()}
    active = told.get("ScalingActive", {})
    return {
        "replicas": scaled["spec"]["replicas"],
        "pods": scaled["status"].get("readyReplicas", 0),
        "able": active.get("status") == "True",
        "reason": told.get("AbleToScale", {}).get("reason"),
        "why": active.get("message"),
        "metrics": status.get("currentMetrics"),
    }


def rule(number: int, trigger: Object) -> Object:
    """A trigger's query, by the name that KEDA gives its metric."""
    query = trigger["metadata"]["query"]
    series = next(word for word in query.replace("(", " ").replace("{", " ").split() if word.startswith("onehop_"))
    return {
        "seriesQuery": series,
        "resources": {"namespaced": False},
        "name": {"as": NAMES.format(number)},
        "metricsQuery": query,
    }


def of_keda(scaled: Object) -> Object:
    """The HPA that KEDA makes of a ScaledObject: from 1 up, which is its part; from and to zero is the operator's."""
    spec = scaled["spec"]
    kinds = {"AverageValue": "averageValue", "Value": "value"}
    metrics = [
        {
            "type": "External",
            "external": {
                "metric": {"name": NAMES.format(n)},
                "target": {"type": each["metricType"], kinds[each["metricType"]]: each["metadata"]["threshold"]},
            },
        }
        for n, each in enumerate(spec["triggers"])
    ]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": f"keda-hpa-{scaled['metadata']['name']}"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", **spec["scaleTargetRef"]},
            "minReplicas": max(1, spec["minReplicaCount"]),
            "maxReplicas": spec["maxReplicaCount"],
            "metrics": metrics,
            "behavior": spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        },
    }


async def activity(prometheus: Prometheus, scaled: Object) -> bool:
    """Whether KEDA would keep it above zero: some trigger's value is above its activation threshold."""
    for trigger in scaled["spec"]["triggers"]:
        told = await prometheus.now(trigger["metadata"]["query"])
        value = float(told[0]["value"][1]) if told else 0.0
        if value > float(trigger["metadata"].get("activationThreshold", 0)):
            return True
    return False


def test_prometheus_is_there() -> None:
    """`make test-kube` puts it on PATH."""
    assert shutil.which("prometheus")
