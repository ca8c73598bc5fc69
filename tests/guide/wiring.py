"""One of the guide's wirings, whole: its manifests, OneHop with the arguments they give it, and Envoy as Istio runs it.

A fake API server holds the pools and the pods, so OneHop finds its endpoints as it does in a cluster; Envoy's
configuration is what Istio makes of the same objects. What a Service leads to is looked up in the manifests, too.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from epp.cli.envoy import envoy_version, find_envoy
from epp.cli.stack import free_ports
from epp.edge.kube.client import Resource
from tests.guide import charts
from tests.guide.istio import Mesh, Pod
from tests.guide.replica import Replica, serving
from tests.guide.site import Json, OneHop, Site, running
from tests.kubeapi.server import ApiServer

PODS = Resource("", "v1", "pods", "Pod")
POOLS = Resource("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
MODELS = {"llama3-8b": "vllm-llama3-8b-instruct", "phi4-mini": "phi4-mini"}


def replicas(namespaces: Sequence[str], each: int, more: Mapping[str, str] | None = None) -> list[Replica]:
    """So many replicas of both models in every namespace, on one port, each at an address of its own as pods are.

    `more` is one more name that all replicas of a namespace answer to.
    """
    names_of = {namespace: (name,) for namespace, name in (more or {}).items()}
    (port,) = free_ports(1)
    names = [(n, model, app, k) for n in namespaces for model, app in MODELS.items() for k in range(each)]
    return [
        Replica(
            name=(f"{namespace}/" if len(namespaces) > 1 else "") + f"{model}-{number}",
            models=(model, "auto", *names_of.get(namespace, ())),
            labels={"app": app, "llm": "chat"},
            namespace=namespace,
            address=f"127.0.0.{21 + position}",
            port=port,
        )
        for position, (namespace, model, app, number) in enumerate(names)
    ]


class Deployed:
    """A pod of a Deployment of OneHop as a process here: its arguments, with this machine's files and ports."""

    def __init__(
        self, deployment: Json, objects: Sequence[Json], folder: Path, kubeconfig: Path, number: int = 0
    ) -> None:
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        self.namespace = deployment["metadata"]["namespace"]
        self.labels = deployment["spec"]["template"]["metadata"]["labels"]
        self.named = {port["name"]: port["containerPort"] for port in container["ports"]}
        extra = [port for port in self.named.values() if port not in (9002, 9003, 9090)]
        self.real = dict(zip(extra, free_ports(len(extra)), strict=True)) if extra else {}
        name = f"{self.namespace}-{deployment['metadata']['name']}-{number}"
        volumes = self._volumes(spec, objects, folder / name)
        flags = [self._here(flag, container["volumeMounts"], volumes) for flag in container["args"][1:]]
        self.onehop = OneHop(name, folder, [*flags, f"--kubeconfig={kubeconfig}"])
        self.real |= dict(zip((9002, 9003, 9090), self.onehop.ports[:3], strict=True))

    def _volumes(self, spec: Json, objects: Sequence[Json], folder: Path) -> dict[str, Path]:
        """The volumes as folders with the content of their ConfigMaps and Secrets."""
        made = {}
        for volume in spec["volumes"]:
            (kind,) = (key for key in volume if key != "name")
            wanted = {"configMap": ("ConfigMap", "name"), "secret": ("Secret", "secretName")}.get(kind)
            if wanted is None:
                continue
            (found,) = [one for one in objects
                        if one["kind"] == wanted[0]
                        and one["metadata"]["name"] == volume[kind][wanted[1]]
                        and one["metadata"]["namespace"] == self.namespace]  # fmt: skip
            made[volume["name"]] = folder / volume["name"]
            made[volume["name"]].mkdir(parents=True)
            for name, text in (found.get("data") or {}).items():
                raw = base64.b64decode(text) if kind == "secret" else text.encode()
                (made[volume["name"]] / name).write_bytes(raw)
            for name, text in (found.get("stringData") or {}).items():
                (made[volume["name"]] / name).write_text(text)
        return made

    def _here(self, flag: str, mounts: Sequence[Json], volumes: dict[str, Path]) -> str:
        """A flag with the paths and ports of this machine."""
        for mount in mounts:
            if mount["name"] in volumes:
                flag = flag.replace(mount["mountPath"] + "/", f"{volumes[mount['name']]}/")
        for port, real in self.real.items():
            if flag.startswith(("--pool=", "--semantic-port=")):
                flag = re.sub(rf"={port}$", f"={real}", flag)
        return flag

    def watches(self, servers: Sequence[Replica]) -> int:
        """How many of the servers it is to know: those of the namespace that its flags name."""
        (namespace,) = [f.partition("=")[2] for f in self.onehop.flags if f.startswith("--pool-namespace=")]
        return sum(server.namespace == namespace for server in servers)

    def serves(self, service: Json, port: Json) -> str | None:
        """Where a Service's port leads to here, if it leads here at all."""
        wanted = service["spec"].get("selector") or {"no": "selector"}
        if service["metadata"]["namespace"] != self.namespace or not wanted.items() <= self.labels.items():
            return None
        target = port.get("targetPort", port["port"])
        return f"127.0.0.1:{self.real[self.named.get(target, target)]}"


@asynccontextmanager
async def running_wiring(
    folder: Path,
    objects: Sequence[Json],
    gateway: str,
    namespaces: Sequence[str],
    *,
    each: int = 3,
    onehops: int = 1,
    binary: str | None = None,
    more: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    """`onehops` pods of each Deployment, `each` replicas of a model in each namespace, the Gateway's Envoy; ready."""
    binary = binary or find_envoy()
    servers = replicas(namespaces, each, more)
    async with AsyncExitStack() as closing:
        await closing.enter_async_context(serving(servers))
        api = await closing.enter_async_context(api_server(objects, servers))
        deployed = [
            Deployed(one, objects, folder, api.kubeconfig(folder, {}), number)
            for one in objects
            if one["kind"] == "Deployment"
            for number in range(onehops)
        ]
        site = await closing.enter_async_context(running(folder, servers, [d.onehop for d in deployed], listening=True))
        site.api = api
        pods = [Pod(server.namespace, server.labels, server.at) for server in servers]
        mesh = Mesh(objects, pods, backends(objects, deployed), envoy_version(binary))
        for one in deployed:
            await site.decided(one.onehop, one.watches(servers))
        site.start_envoy(mesh.bootstrap(gateway, site.port, site.envoy_admin_port), binary)
        await site.envoy_ready()
        yield site


def guide_wiring(
    name: str, folder: Path, binary: str | None = None, *, onehops: int = 1
) -> AbstractAsyncContextManager[Site]:
    """One of the guide's wirings, as its files have it."""
    at, where = charts.gateway(name), [charts.pool_namespace(name)]
    return running_wiring(folder, charts.wiring(name), at, where, binary=binary, onehops=onehops)


def backends(objects: Sequence[Json], deployed: Sequence[Deployed]) -> dict[str, list[str]]:
    """`namespace/name:port` of every Service -> where it leads to."""
    return {
        f"{service['metadata']['namespace']}/{service['metadata']['name']}:{port['port']}": [
            at for one in deployed if (at := one.serves(service, port)) is not None
        ]
        for service in objects
        if service["kind"] == "Service"
        for port in service["spec"].get("ports", [])
    }


def scale_to_zero(site: Site, model: str) -> None:
    """The model's pods are gone from the cluster."""
    for replica in site.replicas.values():
        if replica.models[0] == model:
            site.api.remove(PODS, replica.namespace, replica.name)


@asynccontextmanager
async def api_server(objects: Sequence[Json], servers: Sequence[Replica]) -> AsyncIterator[ApiServer]:
    """A fake API server with the pools of the manifests and a pod for each replica."""
    async with ApiServer(PODS, POOLS) as api:
        for one in objects:
            if one["kind"] == "InferencePool":
                api.put(POOLS, one["metadata"]["namespace"], one["metadata"]["name"], _retargeted(one, servers))
        for server in servers:
            name = server.name.rpartition("/")[2]
            api.put(PODS, server.namespace, name, _pod(server, name))
        yield api


def _retargeted(pool: Json, servers: Sequence[Replica]) -> Json:
    """The pool with the port that the replicas of this test have, in place of 8000."""
    (port,) = {server.port for server in servers}
    assert pool["spec"]["targetPorts"] == [{"number": 8000}]
    return {**pool, "spec": {**pool["spec"], "targetPorts": [{"number": port}]}}


def _pod(server: Replica, name: str) -> Json:
    ready: Any = [{"type": "Ready", "status": "True"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": server.namespace, "labels": dict(server.labels)},
        "spec": {"containers": []},
        "status": {"phase": "Running", "podIP": server.address, "conditions": ready},
    }
