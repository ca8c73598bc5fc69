"""From the Service that a gateway is told to call, to the pods and ports behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from epp.doctor import envoyfilters
from epp.doctor.arguments import container_ports
from epp.doctor.cluster import Cluster, Workload
from epp.doctor.gateways import Family, Rule, rules
from epp.doctor.pickers import GRPC_PORT, Picker, pickers
from epp.doctor.tree import Object, at, key_of, namespace_of, number, objects, pairs, text


class PickerRef(NamedTuple):
    """What a pool says of its picker; the port is None where it says none."""

    namespace: str
    name: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Call:
    """Somebody who calls a picker: a pool's gateways, or an EnvoyFilter. `client` is where the caller's proxies are."""

    subject: str
    service: PickerRef
    families: frozenset[Family | None]
    clients: frozenset[str]
    pool: Object | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What is behind a port of a Service; `leads_to` is another Service that it is a name for."""

    service: Object | None
    port: Object | None = None
    workloads: tuple[Workload, ...] = ()
    numbers: dict[str, int | None] = field(default_factory=dict)
    leads_to: str = ""

    @property
    def target_ports(self) -> set[int]:
        """The numbers of the pods' ports."""
        return {port for port in self.numbers.values() if port is not None}


def picker_ref(pool: Object) -> PickerRef | None:
    """The Service of `endpointPickerRef` (of v1alpha2: `extensionRef`); None where it names none."""
    ref = at(pool, "spec", "endpointPickerRef")
    port = number(ref, "port", "number")
    if ref is None:
        ref = at(pool, "spec", "extensionRef")
        port = number(ref, "portNumber") or GRPC_PORT
    if not text(ref, "name") or text(ref, "group") or (text(ref, "kind") or "Service") != "Service":
        return None
    return PickerRef(namespace_of(pool), text(ref, "name"), port)


def picker_of(cluster: Cluster, key: str) -> PickerRef | str:
    """The picker of the pool `namespace/name`; the key itself where nothing is known of it."""
    namespace, _, name = key.partition("/")
    pool = cluster.find("InferencePool", namespace, name)
    return (picker_ref(pool) if pool is not None else None) or key


def calls(cluster: Cluster) -> Iterator[Call]:
    """Everybody who calls a picker, as far as it can be seen."""
    leading: dict[str, list[Rule]] = {}
    for rule in rules(cluster):
        for key in rule.pools:
            leading.setdefault(key, []).append(rule)
    for pool in cluster.pools():
        ref, here = picker_ref(pool), leading.get(key_of(pool), [])
        if ref is not None:
            clients = frozenset(rule.gateway.partition("/")[0] for rule in here)
            families = frozenset(rule.family for rule in here)
            yield Call(f"InferencePool {key_of(pool)}", ref, families, clients, pool)
    for patch in envoyfilters.ext_procs(cluster):
        target = patch.target
        if target is not None:
            ref = PickerRef(target.namespace, target.name, target.port)
            yield Call(patch.title, ref, frozenset({Family.ISTIO}), frozenset({namespace_of(patch.item)}))


def answering(cluster: Cluster) -> Iterator[tuple[Call, Resolved, Picker]]:
    """Every picker that is seen behind a call, with what is behind the port that is called."""
    for call in calls(cluster):
        found = resolve(cluster, *call.service)
        for workload in found.workloads:
            for picker in pickers(workload):
                yield call, found, picker


def resolve(cluster: Cluster, namespace: str, name: str, port: int | None) -> Resolved:
    """The Service, its port, its pods and the numbers of their ports; a name for another Service is followed once."""
    service = cluster.find("Service", namespace, name)
    if service is None:
        return Resolved(None)
    leads_to = ""
    spec_port = _port(service, port)
    if text(service, "spec", "type") == "ExternalName":
        leads_to = text(service, "spec", "externalName")
        name, _, rest = leads_to.partition(".")
        behind = cluster.find("Service", rest.partition(".")[0], name)
        if behind is None:
            return Resolved(service, spec_port, leads_to=leads_to)
        service, spec_port = behind, _port(behind, port)
    workloads = tuple(cluster.selected(namespace_of(service), pairs(service, "spec", "selector")))
    numbers = {workload.title: _number(spec_port, workload) for workload in workloads}
    return Resolved(service, spec_port, workloads, numbers, leads_to)


def _port(service: Object, wanted: int | None) -> Object | None:
    return next((port for port in objects(service, "spec", "ports") if number(port, "port") == wanted), None)


def _number(port: Object | None, workload: Workload) -> int | None:
    """The pod's port; by name where the Service names it, and the Service's own number where it says nothing."""
    if port is None:
        return None
    target = at(port, "targetPort")
    if isinstance(target, str):
        return int(target) if target.isdigit() else container_ports(workload).get(target)
    return target if isinstance(target, int) else number(port, "port")
