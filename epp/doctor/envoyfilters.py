"""The ext_proc filters that EnvoyFilters put into gateways of Istio."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from epp.doctor.cluster import Cluster
from epp.doctor.tree import Object, at, key_of, namespace_of, objects, pairs, text

PLACEHOLDER = "envoy.filters.http.ext_proc"  # the filter that Istio adds for pools, and overrides on their routes
ROOT_NAMESPACE = "istio-system"
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
OTHER_LABELS = {"istio", "app"}  # of Istio's older gateways, which a Gateway's proxies do not have
_CLUSTER_NAME = re.compile(r"outbound\|(\d{1,5})\|[^|]*\|([a-z0-9.-]+)")


class Target(NamedTuple):
    """The Service that a filter calls."""

    namespace: str
    name: str
    port: int


@dataclass(frozen=True, slots=True)
class Patch:
    """One HTTP_FILTER patch that is about ext_proc. `name` is what the filter is called afterwards."""

    item: Object
    patch: Object

    @property
    def title(self) -> str:
        """How messages call it."""
        return f"EnvoyFilter {key_of(self.item)}"

    @property
    def operation(self) -> str:
        """ADD, INSERT_FIRST, REPLACE, ..."""
        return text(self.patch, "patch", "operation")

    @property
    def value(self) -> Any:
        """The filter."""
        return at(self.patch, "patch", "value")

    @property
    def name(self) -> str:
        """What the filter is called."""
        return text(self.value, "name") or (self.matched if self.operation == "MERGE" else "")

    @property
    def matched(self) -> str:
        """The filter that is replaced, merged into or used as a mark."""
        listener = at(self.patch, "match", "listener")
        found = proto(listener, "filterChain", "filter", "subFilter", "name")
        return found if isinstance(found, str) else ""

    @property
    def config(self) -> Any:
        """The ext_proc configuration."""
        return proto(self.value, "typed_config")

    @property
    def inserts(self) -> bool:
        """Whether there is one filter more afterwards."""
        return self.operation in ("ADD", "INSERT_FIRST", "INSERT_BEFORE", "INSERT_AFTER")

    @property
    def replaces_placeholder(self) -> bool:
        """Whether it takes the place of Istio's filter under another name, so that Istio's settings do not hit it."""
        return self.operation == "REPLACE" and self.matched == PLACEHOLDER and self.name != PLACEHOLDER

    @property
    def target(self) -> Target | None:
        """What it calls, None where that is no Service of Istio's registry."""
        name = proto(self.config, "grpc_service", "envoy_grpc", "cluster_name")
        found = _CLUSTER_NAME.fullmatch(name) if isinstance(name, str) else None
        if found is None:
            return None
        service, _, rest = found[2].partition(".")
        return Target(rest.partition(".")[0], service, int(found[1]))

    def reaches(self, gateway: str) -> bool:
        """Whether the proxies of the Gateway `namespace/name` take it."""
        namespace, _, name = gateway.partition("/")
        if namespace_of(self.item) not in (namespace, ROOT_NAMESPACE):
            return False
        refs = objects(self.item, "spec", "targetRefs")
        if refs:
            return any(text(ref, "kind") == "Gateway" and text(ref, "name") == name for ref in refs)
        labels = pairs(self.item, "spec", "workloadSelector", "labels")
        return labels.get(GATEWAY_LABEL, name) == name and not labels.keys() & OTHER_LABELS


def ext_procs(cluster: Cluster) -> Iterator[Patch]:
    """Every patch that adds, replaces or changes an ext_proc filter of gateways."""
    for item in cluster.all("EnvoyFilter"):
        for patch in objects(item, "spec", "configPatches"):
            found = Patch(item, patch)
            if text(patch, "applyTo") == "HTTP_FILTER" and _is_ext_proc(found) and _for_gateways(patch):
                yield found


def on(cluster: Cluster, gateway: str) -> list[Patch]:
    """Those that reach this Gateway."""
    return [patch for patch in ext_procs(cluster) if patch.reaches(gateway)]


def is_replaced(cluster: Cluster, gateway: str) -> bool:
    """Whether one filter under another name stands in for Istio's there."""
    return any(patch.replaces_placeholder for patch in on(cluster, gateway))


def selects_a_pod(cluster: Cluster, item: Object) -> bool:
    """Whether some pod that was seen has the labels of the EnvoyFilter, Gateway or not."""
    labels = pairs(item, "spec", "workloadSelector", "labels")
    return bool(cluster.selected(namespace_of(item), labels))


def proto(tree: Any, *path: str) -> Any:
    """Like `at`, for Envoy's messages, whose fields may be written in either of two ways."""
    for key in path:
        first, *rest = key.split("_")
        camel = first + "".join(word.capitalize() for word in rest)
        found = at(tree, key)
        tree = at(tree, camel) if found is None else found
    return tree


def _is_ext_proc(patch: Patch) -> bool:
    kind = text(patch.config, "@type")
    return kind.endswith("ext_proc.v3.ExternalProcessor") or (not kind and patch.name == PLACEHOLDER)


def _for_gateways(patch: Object) -> bool:
    return (text(patch, "match", "context") or "ANY") in ("ANY", "GATEWAY")
