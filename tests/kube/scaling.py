"""What scales a Deployment, as in a cluster: the controllers, and prometheus-adapter or KEDA behind the API server.

Real: the controllers of Deployments, ReplicaSets and HorizontalPodAutoscalers, the adapter, KEDA's operator and metrics
server, Prometheus. There is no node: `Kubelet` calls every pod ready.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from epp.cli.stack import free_ports
from tests.kube.api import Api, Object, Said
from tests.kube.child import Child
from tests.kube.cluster import Cluster
from tests.kube.pki import Authority

CONTROLLERS = "deployment-controller,replicaset-controller,horizontal-pod-autoscaler-controller"
KEDA = "keda"  # its namespace
GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
READY_S = 60.0
BEAT_S = 0.5


@asynccontextmanager
async def scaling(
    cluster: Cluster, admin: Api, binaries: Path, folder: Path, *, prometheus: str, rules: Any
) -> AsyncIterator[None]:
    """The controllers, and an adapter with these rules over the Prometheus at that URL."""
    kubeconfig, (port,) = cluster.kubeconfig(folder / "kubeconfig"), free_ports(1)
    config = folder / "adapter.yaml"
    config.write_text(yaml.safe_dump(rules))
    command = [
        str(binaries / "prometheus-adapter"),
        f"--prometheus-url={prometheus}",
        f"--config={config}",
        "--metrics-relist-interval=2s",
        "--metrics-max-age=5m",
        f"--cert-dir={folder}",
        *_serving(port, kubeconfig),
    ]
    async with _running(admin, binaries, folder, commands={"prometheus-adapter": command}, port=port):
        yield


@asynccontextmanager
async def keda(cluster: Cluster, admin: Api, binaries: Path, folder: Path) -> AsyncIterator[None]:
    """The controllers, and KEDA's operator and metrics server."""
    kubeconfig = cluster.kubeconfig(folder / "kubeconfig")
    port, own, metrics, health, others = free_ports(5)
    certificates = folder / "certificates"
    certificates.mkdir()
    certificate, key = Authority(certificates).peer("tls")  # the two know each other by it
    await admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": KEDA}})
    surroundings = ["WATCH_NAMESPACE=", f"POD_NAMESPACE={KEDA}", f"KEDA_CLUSTER_OBJECT_NAMESPACE={KEDA}"]
    operator = [
        *("env", *surroundings, str(binaries / "keda-operator")),
        f"--kubeconfig={kubeconfig}",
        f"--metrics-bind-address=127.0.0.1:{metrics}",
        f"--health-probe-bind-address=127.0.0.1:{health}",
        f"--metrics-service-bind-address=127.0.0.1:{own}",
        f"--cert-dir={certificates}",
        "--zap-encoder=console",
    ]
    server = [
        *("env", *surroundings, str(binaries / "keda-adapter")),
        f"--kubeconfig={kubeconfig}",
        f"--metrics-service-address=127.0.0.1:{own}",
        f"--port={others}",
        f"--cert-dir={certificates}",
        f"--tls-cert-file={certificate}",
        f"--tls-private-key-file={key}",
        *_serving(port, kubeconfig),
    ]
    commands = {"keda-operator": operator, "keda-adapter": server}
    async with _running(admin, binaries, folder, commands=commands, port=port):
        yield


def _serving(port: int, kubeconfig: Path) -> list[str]:
    """Flags that every API server behind the API server has."""
    asking = [f"--{part}-kubeconfig={kubeconfig}" for part in ("lister", "authentication", "authorization")]
    return ["--bind-address=127.0.0.1", f"--secure-port={port}", *asking]


@asynccontextmanager
async def _running(
    admin: Api, binaries: Path, folder: Path, *, commands: dict[str, list[str]], port: int
) -> AsyncIterator[None]:
    """These by their names, the last of which serves external metrics at the port, and then the controllers."""
    children = [Child(command, folder / f"{name}.log") for name, command in commands.items()]
    try:
        await _behind(admin, port, children[-1])
        kubeconfig = folder / "kubeconfig"
        children.append(
            Child(
                [
                    str(binaries / "kube-controller-manager"),
                    f"--kubeconfig={kubeconfig}",
                    f"--controllers={CONTROLLERS}",
                    "--horizontal-pod-autoscaler-sync-period=1s",
                    "--leader-elect=false",
                    "--secure-port=0",
                ],
                folder / "kube-controller-manager.log",
            )
        )
        yield
        assert all(child.is_alive for child in children), [child.tail() for child in children]
    finally:
        for child in children:
            child.kill()


async def _behind(admin: Api, port: int, adapter: Child) -> None:
    """The adapter as the API server's own external metrics."""
    service: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "adapter", "namespace": "default"}}
    await admin.apply(service | {"spec": {"type": "ExternalName", "externalName": "localhost"}})
    api: Object = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": {
            "service": {"name": "adapter", "namespace": "default", "port": port},
            "group": GROUP,
            "version": VERSION,
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
    await admin.apply(api)

    async def there() -> bool:
        try:
            return bool((await admin.list(f"/apis/{GROUP}/{VERSION}"))["resources"])
        except (Said, KeyError):
            return False

    await adapter.ready(there)


class Kubelet:
    """Says of each pod of a namespace that it is ready; there is none behind it."""

    def __init__(self, admin: Api, namespace: str) -> None:
        self._admin = admin
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._namespace = namespace

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            for pod in (await self._admin.list(self._pods))["items"]:
                about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod["metadata"]["name"]}}
                with contextlib.suppress(Said):  # it is gone
                    if pod["metadata"].get("deletionTimestamp"):
                        await self._admin.delete(about, self._namespace, gracePeriodSeconds="0")
                    elif pod["status"]["phase"] == "Pending":
                        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                        await self._admin.patch(about, {"status": ready}, self._namespace, "status")
            await asyncio.sleep(BEAT_S)


def deployment(name: str, replicas: int) -> Object:
    """Of pods that nobody runs."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "server", "image": "none.test/none"}]},
            },
        },
    }
