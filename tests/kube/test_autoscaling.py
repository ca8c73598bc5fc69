"""The examples of autoscaling at work: load on a real OneHop changes what is wanted of a Deployment, and back.

Real are Envoy, OneHop, Prometheus, prometheus-adapter with the example's own rules, KEDA, the API server and its
controllers. Simulated are the model servers (there are as many all the time, whatever the Deployment says) and the
kubelet.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
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
from tests.kube.scaling import GROUP, VERSION, Kubelet, deployment, keda, scaling
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


async def test_the_hpa_follows_load_up_and_down_again(
    assets: Path, cluster: Cluster, admin: Api, tmp_path: Path
) -> None:
    space, hpa = "by-adapter", document("hpa")
    rules = yaml.safe_load(document("prometheus-adapter")["data"]["config.yaml"])
    async with (
        serving(tmp_path) as (site, prometheus),
        scaling(cluster, admin, assets / "bin", tmp_path, prometheus=prometheus.url, rules=rules),
        Kubelet(admin, space).running(),
    ):
        await admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
        await admin.create(deployment(MODEL, 2), space)
        await admin.create(hpa, space)
        await until(UP_S, lambda: state(admin, hpa, space), lambda one: one["able"])

        await load(site)
        grown = await until(UP_S, lambda: state(admin, hpa, space), lambda one: all_ready(one, above=2))

        await until(DOWN_S, lambda: state(admin, hpa, space), lambda one: one["reason"] == "ScaleDownStabilized")
        # Or it would take ten minutes, which is what the example wants.
        await admin.patch(hpa, {"spec": {"behavior": EAGER}}, space)
        back = await until(DOWN_S, lambda: state(admin, hpa, space), lambda one: one["replicas"] <= 2)

    assert grown["replicas"] > 2
    assert back["replicas"] == hpa["spec"]["minReplicas"]


async def test_keda_wakes_a_deployment_for_load_scales_it_and_lets_it_sleep_again(
    assets: Path, cluster: Cluster, admin: Api, tmp_path: Path
) -> None:
    space, scaled = "by-keda", document("keda")
    hpa = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": f"keda-hpa-{MODEL}"}}
    triggers = scaled["spec"]["triggers"]
    async with (
        serving(tmp_path) as (site, prometheus),
        keda(cluster, admin, assets / "bin", tmp_path),
        Kubelet(admin, space).running(),
    ):
        for trigger in triggers:
            trigger["metadata"]["serverAddress"] = prometheus.url
        await admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
        await admin.create(deployment(MODEL, 0), space)
        await admin.create(scaled, space)
        idle = await until(UP_S, lambda: conditions(admin, scaled, space), lambda told: told.get("Active") == "False")
        made = (await admin.get(hpa, space))["spec"]
        asleep = (await admin.get(deployment(MODEL, 0), space))["spec"]["replicas"]

        await load(site)
        busy = await until(UP_S, lambda: conditions(admin, scaled, space), lambda told: told.get("Active") == "True")
        await until(UP_S, lambda: state(admin, hpa, space), lambda one: all_ready(one, above=2))
        wanted, asked = await prometheus.now(triggers[0]["metadata"]["query"]), await external(admin, space, 0)

        await until(DOWN_S, lambda: state(admin, hpa, space), lambda one: one["reason"] == "ScaleDownStabilized")
        sooner = {"advanced": {"horizontalPodAutoscalerConfig": {"behavior": EAGER}}, "cooldownPeriod": 5}
        await admin.patch(scaled, {"spec": sooner}, space)  # or it would take a quarter of an hour
        await until(DOWN_S, lambda: state(admin, hpa, space), lambda one: one["replicas"] == one["pods"] == 0)

    assert (asleep, idle["Ready"], busy["Ready"]) == (0, "True", "True")
    assert made["scaleTargetRef"]["name"] == MODEL
    assert (made["minReplicas"], made["maxReplicas"]) == (1, scaled["spec"]["maxReplicaCount"])
    targets = [one["external"]["target"] for one in made["metrics"]]
    assert [target["type"] for target in targets] == [trigger["metricType"] for trigger in triggers]
    assert float(targets[0]["averageValue"]) == float(triggers[0]["metadata"]["threshold"])
    assert asked == pytest.approx(float(wanted[0]["value"][1]), rel=0.5), "moments apart, of one that falls"


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Site, Prometheus]]:
    """A OneHop before two model servers, and a Prometheus that reads it."""
    async with (
        running(plan(folder, wiring="duplex", time_factor=1.0, replicas=2)) as stack,
        aiohttp.ClientSession() as http,
        watching(f"127.0.0.1:{stack.metrics_port}", [], folder) as prometheus,
    ):
        await prometheus.until("up == 1")
        yield Site(stack, http), prometheus


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
    most_s: float, ask: Callable[[], Awaitable[dict[str, Any]]], what: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """What is told at the first moment at which this holds of it."""
    told: dict[str, Any] = {}
    try:
        async with asyncio.timeout(most_s):
            while True:
                told = await ask()
                if what(told):
                    return told
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(f"never so in {most_s} s: {told}") from None


def all_ready(told: dict[str, Any], above: int) -> bool:
    """Whether it has more replicas than that, and pods for them."""
    replicas: int = told["replicas"]
    return replicas > above and told["pods"] == replicas


async def conditions(admin: Api, scaled: Object, space: str) -> dict[str, str]:
    """What KEDA says of a ScaledObject."""
    status = (await admin.get(scaled, space)).get("status", {})
    return {each["type"]: each["status"] for each in status.get("conditions") or ()}


async def external(admin: Api, space: str, trigger: int) -> float:
    """A trigger's value, as KEDA tells the HPA."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{space}/s{trigger}-prometheus"
    (item,) = (await admin.list(path, labelSelector=f"scaledobject.keda.sh/name={MODEL}"))["items"]
    return quantity(item["value"])


def quantity(text: str) -> float:
    """A number as Kubernetes writes it."""
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


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


def test_prometheus_is_there() -> None:
    """`make test-kube` puts it on PATH."""
    assert shutil.which("prometheus")
