"""Whether the API server knows the kinds that all this is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from epp.doctor.cluster import POLICY_GROUPS, POOL_GROUPS, ROUTE_GROUP, Cluster
from epp.doctor.findings import Finding, NotChecked, problem, warning
from epp.doctor.pickers import all_pickers
from epp.doctor.tree import at, key_of, objects, text

POOL, OLD_POOL = POOL_GROUPS
INSTALL_POOLS = "Install the manifests of the Gateway API Inference Extension, v1.0 or later."


def definitions(cluster: Cluster) -> Iterator[Finding]:
    """Pools in a version that gateways read; objectives and rewrites where somebody wants them."""
    served = cluster.served if cluster.served is not None else _by_files(cluster)
    yield from _old_pools(cluster)
    if served is None:
        if not any(text(pool, "apiVersion").startswith(OLD_POOL) for pool in cluster.pools()):
            raise NotChecked("there are no CustomResourceDefinitions among these files")
        return
    has = {(version, plural) for version, plurals in served.items() for plural in plurals}
    if (f"{POOL}/v1", "inferencepools") not in has and _wants_pools(cluster):
        if (f"{OLD_POOL}/v1alpha2", "inferencepools") in has:
            yield warning(
                "InferencePool",
                "only v1alpha2 is installed: OneHop reads it, but gateways of today read v1 only.",
                INSTALL_POOLS,
            )
        else:
            yield problem("InferencePool", "no version of it is installed, so there can be no pools.", INSTALL_POOLS)
    if cluster.live and not any(version.startswith(f"{ROUTE_GROUP}/") for version in served):
        yield problem(
            "Gateway API", "it is not installed, so there can be no routes.", "Install its standard manifests."
        )
    yield from _used_in_vain(cluster, has)


def _old_pools(cluster: Cluster) -> Iterator[Finding]:
    for pool in cluster.pools():
        if text(pool, "apiVersion").startswith(f"{OLD_POOL}/"):
            yield warning(
                f"InferencePool {key_of(pool)}",
                "it is of v1alpha2: OneHop reads it where there is no v1, but gateways of today read v1 only.",
                f"Write it as {POOL}/v1 (endpointPickerRef, targetPorts, selector.matchLabels).",
            )


def _wants_pools(cluster: Cluster) -> bool:
    """A cluster where every picker takes its endpoints from elsewhere needs no pools."""
    found = all_pickers(cluster)
    return not found or not all(p.last("endpoint-selector") or p.last("discovery-file") for p in found)


def _used_in_vain(cluster: Cluster, has: set[tuple[str, str]]) -> Iterator[Finding]:
    """Files with objects of a kind whose definition is not there; a live cluster cannot have any."""
    for kind, plural in (
        ("InferenceObjective", "inferenceobjectives"),
        ("InferenceModelRewrite", "inferencemodelrewrites"),
    ):
        if cluster.all(kind) and not any((f"{group}/v1alpha2", plural) in has for group in POLICY_GROUPS):
            yield warning(
                kind,
                "there are objects of this kind, and its definition is not installed.",
                "Install the definition (llm-d.ai/v1alpha2), or remove them.",
            )


def _by_files(cluster: Cluster) -> Mapping[str, frozenset[str]] | None:
    """What the definitions among the manifests would install."""
    found: dict[str, frozenset[str]] = {}
    for item in cluster.all("CustomResourceDefinition"):
        group, plural = text(item, "spec", "group"), text(item, "spec", "names", "plural")
        for version in objects(item, "spec", "versions"):
            if at(version, "served") is not False:
                key = f"{group}/{text(version, 'name')}"
                found[key] = found.get(key, frozenset()) | {plural}
    relevant = any(version.partition("/")[0] in POOL_GROUPS for version in found)
    return found if relevant else None
