"""A pool and the pods there are -> the endpoints of the pool.

Must stay true: the result does not depend on the order of the pods; no name and no address is in it twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from epp.datastore.objects import InferencePool, Pod
from epp.datastore.pool import Listed
from epp.datastore.selectors import Selector


@dataclass(slots=True, frozen=True)
class Naming:
    """How pods tell which model they serve: a label's value, else what is configured for pods with some labels."""

    label: str = ""
    serves: tuple[tuple[str, Selector], ...] = ()

    def declared(self, labels: Mapping[str, str]) -> dict[str, str] | None:
        """As in `declared_models`."""
        return declared_models(labels, self.label, self.serves)


@dataclass(slots=True, frozen=True)
class Members:
    """The endpoints of a pool, and what about its pods an operator should know."""

    listed: tuple[Listed, ...] = ()
    notes: tuple[str, ...] = ()


def endpoints(pool: InferencePool, pods: Iterable[Pod], naming: Naming | None = None) -> Members:
    """The endpoints of an InferencePool among the pods of any namespace and labels."""
    return selected(pool.namespace, Selector.of(pool.selector), pool.ports, pods, naming)


def selected(
    namespace: str, selector: Selector, ports: Sequence[int], pods: Iterable[Pod], naming: Naming | None = None
) -> Members:
    """One endpoint for each target port that is active on each ready pod of the namespace and selector."""
    naming = naming or Naming()
    listed: dict[str, Listed] = {}
    notes: list[str] = []
    for pod in sorted(pods, key=lambda pod: (pod.namespace, pod.name)):
        if not pod.ready or pod.namespace != namespace or not selector.matches(pod.labels):
            continue
        notes += [f"pod {pod.key}: {warning}" for warning in pod.warnings]
        active = _active(pod, ports)
        if not active:
            wanted = ", ".join(map(str, ports))
            notes.append(f"pod {pod.key} has none of the target ports {wanted} active, so it gets no requests")
        declared = naming.declared(pod.labels) if active else None
        for rank in active:
            name, address = f"{pod.key}-rank-{rank}", host_port(pod.ip, ports[rank])
            first = listed.setdefault(address, Listed(name, address, pod.labels, declared, pod.uid or pod.key))
            if first.name != name:
                notes.append(f"{address} is the address of {first.name} and of {name}; only {first.name} is used")
    return Members(tuple(listed.values()), tuple(notes))


def declared_models(
    labels: Mapping[str, str], model_label: str, serves: Iterable[tuple[str, Selector]]
) -> dict[str, str] | None:
    """The models a pod is said to serve, each its own base model: by its label, else by configuration, else None.

    What the endpoint says of itself comes before either.
    """
    named = labels.get(model_label) if model_label else None
    if named:
        return {named: named}
    return {model: model for model, selector in serves if selector.matches(labels)} or None


def host_port(ip: str, port: int) -> str:
    """`ip:port`, with IPv6 in brackets."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _active(pod: Pod, ports: Sequence[int]) -> list[int]:
    """The indexes of the target ports that the pod has active."""
    if pod.active_ports is None:
        return list(range(len(ports)))
    return [rank for rank, port in enumerate(ports) if port in pod.active_ports]
