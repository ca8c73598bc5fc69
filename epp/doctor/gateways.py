"""Which gateway a route hangs on, what kind of gateway that is, and which rules lead to InferencePools."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from epp.doctor.cluster import POOL_GROUPS, ROUTE_GROUP, Cluster
from epp.doctor.tree import Object, key_of, name_of, namespace_of, objects, text


class Family(Enum):
    """Gateways that know InferencePools, told apart by what they do with a picker."""

    ISTIO = "Istio"
    AGENTGATEWAY = "agentgateway"
    KGATEWAY = "kgateway (Envoy)"
    ENVOY_AI = "Envoy AI Gateway"
    NGINX = "NGINX Gateway Fabric"
    GKE = "GKE"


CONTROLLERS = {
    "istio.io/gateway-controller": Family.ISTIO,
    "istio.io/unmanaged-gateway": Family.ISTIO,
    "kgateway.dev/kgateway": Family.KGATEWAY,
    "kgateway.dev/agentgateway": Family.AGENTGATEWAY,
    "agentgateway.dev/agentgateway": Family.AGENTGATEWAY,
    "gateway.envoyproxy.io/gatewayclass-controller": Family.ENVOY_AI,
    "gateway.nginx.org/nginx-gateway-controller": Family.NGINX,
    "networking.gke.io/gateway": Family.GKE,
}
# How classes are usually called, where the class itself is not at hand.
CLASS_NAMES = {
    "istio": Family.ISTIO,
    "kgateway": Family.KGATEWAY,
    "agentgateway": Family.AGENTGATEWAY,
    "envoy-ai-gateway": Family.ENVOY_AI,
    "envoy-gateway": Family.ENVOY_AI,
    "eg": Family.ENVOY_AI,
    "nginx": Family.NGINX,
}
ISTIO_KINDS = ("EnvoyFilter", "DestinationRule", "IstioOperator", "Istio")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of an HTTPRoute with at least one InferencePool among its backends, on one Gateway."""

    route: Object
    rule: Object
    index: int
    gateway: str
    family: Family | None
    pools: tuple[str, ...]

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"HTTPRoute {key_of(self.route)} rule {text(self.rule, 'name') or self.index}"


def rules(cluster: Cluster) -> Iterator[Rule]:
    """Every rule that leads to a pool that is looked at, once for each Gateway of its route."""
    seen = {key_of(pool) for pool in cluster.pools()}
    for route in cluster.all("HTTPRoute"):
        parents = sorted({_parent(route, ref) for ref in objects(route, "spec", "parentRefs")} - {""})
        for index, rule in enumerate(objects(route, "spec", "rules")):
            pools = tuple(backend_pool(route, ref) for ref in objects(rule, "backendRefs"))
            if not any(pools) or (cluster.namespace is not None and not seen & set(pools)):
                continue
            for gateway in parents:
                if _is_wanted(cluster, gateway):
                    yield Rule(route, rule, index, gateway, family(cluster, gateway), tuple(filter(None, pools)))


def backend_pool(route: Object, ref: Object) -> str:
    """`namespace/name` of the pool that a backendRef names, empty for anything else."""
    if text(ref, "kind") != "InferencePool" or text(ref, "group") not in POOL_GROUPS:
        return ""
    return f"{text(ref, 'namespace') or namespace_of(route)}/{text(ref, 'name')}"


def family(cluster: Cluster, gateway: str) -> Family | None:
    """What kind of gateway `namespace/name` is; by its class, else by what else there is."""
    namespace, _, name = gateway.partition("/")
    found = cluster.find("Gateway", namespace, name)
    if found is None:
        return Family.ISTIO if any(cluster.all(kind) for kind in ISTIO_KINDS) else None
    class_name = text(found, "spec", "gatewayClassName")
    for each in cluster.all("GatewayClass"):
        if name_of(each) == class_name:
            return CONTROLLERS.get(text(each, "spec", "controllerName"))
    return Family.GKE if class_name.startswith("gke-l7") else CLASS_NAMES.get(class_name)


def _parent(route: Object, ref: Object) -> str:
    if (text(ref, "kind") or "Gateway") != "Gateway" or (text(ref, "group") or ROUTE_GROUP) != ROUTE_GROUP:
        return ""
    return f"{text(ref, 'namespace') or namespace_of(route)}/{text(ref, 'name')}"


def _is_wanted(cluster: Cluster, gateway: str) -> bool:
    return cluster.gateway is None or cluster.gateway in (gateway, gateway.partition("/")[2])
