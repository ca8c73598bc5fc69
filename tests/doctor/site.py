"""A sound site behind Istio, as objects by name; a test spoils one of them and asks what the doctor says."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from epp.doctor.checks import CHECKS
from epp.doctor.cluster import Cluster
from epp.doctor.findings import Level, Result, examine

Tree = dict[str, Any]
Edit = Callable[[dict[str, Tree]], object]
EXT_PROC = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
HOST = "onehop.llm.svc.cluster.local"


def made(kind: str, version: str, name: str, namespace: str | None = "llm", **body: Any) -> Tree:
    """An object."""
    metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **body}


def workload(name: str, labels: Tree, args: list[str], ports: list[int], namespace: str = "llm", **spec: Any) -> Tree:
    """A Deployment of one container."""
    container = {
        "name": "main",
        "image": "example/image:1",
        "args": args,
        "ports": [{"containerPort": port, "name": f"p{port}"} for port in ports],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], **spec}}
    return made("Deployment", "apps/v1", name, namespace, spec={"template": template})


def pool(name: str, labels: Tree, service: str = "onehop", **ref: Any) -> Tree:
    """An InferencePool v1."""
    picker = {"name": service, "port": {"number": 9002}, **ref}
    spec = {"selector": {"matchLabels": labels}, "targetPorts": [{"number": 8000}], "endpointPickerRef": picker}
    return made("InferencePool", "inference.networking.k8s.io/v1", name, spec=spec)


def backend(name: str, **more: Any) -> Tree:
    """A backendRef of a pool."""
    return {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name, **more}


def route(name: str, pool_name: str, model: str, **rule: Any) -> Tree:
    """An HTTPRoute that leads a model's name to a pool."""
    matches = [{"headers": [{"name": "x-selected-model", "value": model}]}]
    spec = {
        "parentRefs": [{"name": "front", "namespace": "gateways"}],
        "rules": [{"matches": matches, "backendRefs": [backend(pool_name)], **rule}],
    }
    return made("HTTPRoute", "gateway.networking.k8s.io/v1", name, spec=spec)


def ext_proc(
    name: str, operation: str, cluster: str = f"outbound|9002||{HOST}", *, mark: str = "", **config: Any
) -> Tree:
    """An EnvoyFilter with an ext_proc filter of that name."""
    http = {"name": "envoy.filters.network.http_connection_manager"}
    listener = {"filterChain": {"filter": {**http, "subFilter": {"name": mark}} if mark else http}}
    value = {
        "name": name,
        "typed_config": {
            "@type": EXT_PROC,
            "grpc_service": {"envoy_grpc": {"cluster_name": cluster}},
            "processing_mode": {"request_body_mode": "BUFFERED"},
            **config,
        },
    }
    patch = {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "GATEWAY", "listener": listener},
        "patch": {"operation": operation, "value": value},
    }
    selector = {"labels": {"gateway.networking.k8s.io/gateway-name": "front"}}
    spec = {"workloadSelector": selector, "configPatches": [patch]}
    return made("EnvoyFilter", "networking.istio.io/v1alpha3", "filter", "gateways", spec=spec)


def rule(groups: list[str], resources: list[str], verbs: list[str]) -> Tree:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


def crd(group: str, plural: str, *versions: str) -> Tree:
    """A CustomResourceDefinition."""
    spec = {"group": group, "names": {"plural": plural}, "versions": [{"name": v, "served": True} for v in versions]}
    return made("CustomResourceDefinition", "apiextensions.k8s.io/v1", f"{plural}.{group}", None, spec=spec)


def sound() -> dict[str, Tree]:
    """Two pools for two models, whose picker is one OneHop, behind Istio 1.29."""
    port = {"port": 9002, "targetPort": 9002, "appProtocol": "http2"}
    return {
        "istiod": made(
            "Deployment",
            "apps/v1",
            "istiod",
            "istio-system",
            spec={
                "template": {
                    "metadata": {"labels": {"app": "istiod"}},
                    "spec": {
                        "containers": [
                            {
                                "name": "discovery",
                                "image": "docker.io/istio/pilot:1.29.0-distroless",
                                "env": [{"name": "ENABLE_GATEWAY_API_INFERENCE_EXTENSION", "value": "true"}],
                            }
                        ]
                    },
                }
            },
        ),
        "class": made(
            "GatewayClass",
            "gateway.networking.k8s.io/v1",
            "ours",
            None,
            spec={"controllerName": "istio.io/gateway-controller"},
        ),
        "gateway": made(
            "Gateway", "gateway.networking.k8s.io/v1", "front", "gateways", spec={"gatewayClassName": "ours"}
        ),
        "llama-route": route("llama", "llama", "llama3-8b"),
        "phi-route": route("phi", "phi", "phi4-mini"),
        "llama-pool": pool("llama", {"app": "llama"}),
        "phi-pool": pool("phi", {"app": "phi"}),
        "llama": workload("llama", {"app": "llama"}, ["--model", "m", "--served-model-name", "llama3-8b"], [8000]),
        "phi": workload("phi", {"app": "phi"}, ["vllm", "serve", "phi4-mini"], [8000]),
        "service": made("Service", "v1", "onehop", spec={"selector": {"app": "onehop"}, "ports": [port]}),
        "onehop": workload(
            "onehop",
            {"app": "onehop"},
            ["serve", "--pool-namespace=llm", "--pool=llm/llama", "--pool=llm/phi"],
            [9002, 9003],
            serviceAccountName="onehop",
        ),
        "tls": made(
            "DestinationRule",
            "networking.istio.io/v1",
            "onehop",
            spec={"host": HOST, "trafficPolicy": {"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}}},
        ),
        "account": made("ServiceAccount", "v1", "onehop"),
        "role": made(
            "Role",
            "rbac.authorization.k8s.io/v1",
            "onehop",
            rules=[
                rule([""], ["pods"], ["list", "watch"]),
                rule(["inference.networking.k8s.io"], ["inferencepools"], ["list", "watch"]),
                rule(["llm-d.ai"], ["inferenceobjectives", "inferencemodelrewrites"], ["list", "watch"]),
                rule([""], ["events"], ["create", "patch"]),
            ],
        ),
        "binding": made(
            "RoleBinding",
            "rbac.authorization.k8s.io/v1",
            "onehop",
            roleRef={"kind": "Role", "name": "onehop"},
            subjects=[{"kind": "ServiceAccount", "name": "onehop", "namespace": "llm"}],
        ),
        "filter": ext_proc(
            "inference.one-hop", "REPLACE", mark="envoy.filters.http.ext_proc", failure_mode_allow=False
        ),
        "crds": crd("inference.networking.k8s.io", "inferencepools", "v1"),
    }


def without_filter(site: dict[str, Tree]) -> None:
    """Istio's own filter does the work."""
    del site["filter"]


def site(*edits: Edit) -> list[Tree]:
    """The objects of the sound site after the edits."""
    objects = deepcopy(sound())
    for edit in edits:
        edit(objects)
    return list(objects.values())


def examined(*edits: Edit, **of: Any) -> dict[str, Result]:
    """What every check says, by its name."""
    return {result.check.name: result for result in examine(Cluster(site(*edits), **of), CHECKS)}


def told(*edits: Edit, **of: Any) -> dict[str, Level]:
    """The checks that found something."""
    quiet = (Level.OK, Level.NOT_CHECKED)
    return {name: result.level for name, result in examined(*edits, **of).items() if result.level not in quiet}


def container(of: Tree) -> Tree:
    """The container of a workload."""
    found: Tree = of["spec"]["template"]["spec"]["containers"][0]
    return found


def pod(of: Tree, name: str, *, ready: bool = True) -> Tree:
    """A pod of a Deployment."""
    template = deepcopy(of["spec"]["template"])
    made_pod = made("Pod", "v1", name, of["metadata"]["namespace"], spec=template["spec"])
    made_pod["metadata"]["labels"] = template["metadata"]["labels"]
    made_pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    return made_pod


def running(objects: dict[str, Tree]) -> None:
    """As in a live cluster: a ready pod for each Deployment."""
    for name in ("llama", "phi", "onehop"):
        objects[f"{name}-0"] = pod(objects[name], f"{name}-0")
