"""What must hold between a pool and its pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from epp.doctor.arguments import container_ports
from epp.doctor.cluster import Cluster, Workload
from epp.doctor.findings import Finding, NotChecked, missing, problem, warning
from epp.doctor.pickers import pickers
from epp.doctor.tree import Object, key_of, namespace_of, number, objects, pairs


def pool_pods(cluster: Cluster) -> Iterator[Finding]:
    """The selector of a pool fits pods of its own namespace."""
    for pool in _pools(cluster):
        found = members(cluster, pool)
        if not found:
            servers = [w for w in cluster.in_namespace(namespace_of(pool)) if not any(True for _ in pickers(w))]
            yield missing(
                cluster,
                f"InferencePool {key_of(pool)}",
                f"its selector fits {'no pod' if cluster.live else 'no workload of these files'} in"
                f" {namespace_of(pool)}, so requests are answered 503.",
                "Correct the selector or the pods' labels; only pods of the pool's own namespace count.",
                where=("Pod", namespace_of(pool)),
                files_have_others=bool(servers),
            )
        elif all(member.ready is False for member in found):
            yield problem(
                f"InferencePool {key_of(pool)}",
                f"none of its {len(found)} pods is ready, so requests are answered 503.",
                "Look at the pods: kubectl describe, and the model server's log.",
            )


def pool_ports(cluster: Cluster) -> Iterator[Finding]:
    """The pods listen where the pool says."""
    for pool in _pools(cluster):
        for member in _alike(members(cluster, pool)):
            declared = set(container_ports(member).values())
            missing = sorted(target_ports(pool) - declared)
            if declared and missing:
                yield warning(
                    f"InferencePool {key_of(pool)}",
                    f"its target port {', '.join(map(str, missing))} is not among those that {member.title} declares"
                    f" ({', '.join(map(str, sorted(declared)))}), so requests there probably find nobody.",
                    "Correct targetPorts, or declare the port as a containerPort.",
                )


def members(cluster: Cluster, pool: Object) -> list[Workload]:
    """The pods of a pool, ready or not."""
    return cluster.selected(namespace_of(pool), selector(pool))


def target_ports(pool: Object) -> set[int]:
    """The ports of the pods, in either version."""
    found = {number(port, "number") for port in objects(pool, "spec", "targetPorts")}
    return {port for port in (*found, number(pool, "spec", "targetPortNumber")) if port is not None}


def selector(pool: Object) -> Mapping[str, str]:
    """The labels of its pods, in either version."""
    return pairs(pool, "spec", "selector", "matchLabels") or pairs(pool, "spec", "selector")


def _pools(cluster: Cluster) -> list[Object]:
    found = cluster.pools()
    if not found:
        raise NotChecked("there is no InferencePool")
    return found


def _alike(found: list[Workload]) -> list[Workload]:
    """One of each kind of pod."""
    return list({tuple(sorted(container_ports(member).values())): member for member in reversed(found)}.values())
