"""The objects that checks look at, whoever read them: of a live cluster, or of manifests.

Must stay true: every object that belongs into a namespace names one; a kind stands for its own API groups only, so a
Gateway here is one of the Gateway API and never Istio's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from epp.doctor.tree import Object, at, name_of, namespace_of, objects, pairs, text

POOL_GROUPS = ("inference.networking.k8s.io", "inference.networking.x-k8s.io")
POLICY_GROUPS = ("llm-d.ai", "inference.networking.x-k8s.io")
ROUTE_GROUP = "gateway.networking.k8s.io"

# Kind -> the groups in which it means what we mean.
KINDS: Mapping[str, tuple[str, ...]] = {
    "InferencePool": POOL_GROUPS,
    "InferenceObjective": POLICY_GROUPS,
    "InferenceModelRewrite": POLICY_GROUPS,
    "Gateway": (ROUTE_GROUP,),
    "GatewayClass": (ROUTE_GROUP,),
    "HTTPRoute": (ROUTE_GROUP,),
    "EnvoyFilter": ("networking.istio.io",),
    "DestinationRule": ("networking.istio.io",),
    "EnvoyPatchPolicy": ("gateway.envoyproxy.io",),
    "IstioOperator": ("install.istio.io",),
    "Istio": ("sailoperator.io",),
    "Service": ("",),
    "Pod": ("",),
    "Deployment": ("apps",),
    "StatefulSet": ("apps",),
    "DaemonSet": ("apps",),
    "LeaderWorkerSet": ("leaderworkerset.x-k8s.io",),
    "ServiceAccount": ("",),
    "Role": ("rbac.authorization.k8s.io",),
    "RoleBinding": ("rbac.authorization.k8s.io",),
    "ClusterRole": ("rbac.authorization.k8s.io",),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io",),
    "CustomResourceDefinition": ("apiextensions.k8s.io",),
}
OF_THE_CLUSTER = {"GatewayClass", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
TEMPLATES = {
    "Deployment": (("spec", "template"),),
    "StatefulSet": (("spec", "template"),),
    "DaemonSet": (("spec", "template"),),
    "LeaderWorkerSet": (
        ("spec", "leaderWorkerTemplate", "leaderTemplate"),
        ("spec", "leaderWorkerTemplate", "workerTemplate"),
    ),
}


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod, or a template that makes some; `ready` None where nobody can know."""

    title: str
    namespace: str
    labels: Mapping[str, str]
    spec: Object
    ready: bool | None = None

    @property
    def containers(self) -> list[Object]:
        """Its containers, with init containers that go on running."""
        running = [c for c in objects(self.spec, "initContainers") if text(c, "restartPolicy") == "Always"]
        return [*objects(self.spec, "containers"), *running]


class Cluster:
    """Objects of any kind; those that name no namespace are in `home`.

    `live` objects are all there are of a kind; manifests may be a part of what will be there. `unread` tells why a kind
    could not be read, `hidden` are kinds that could not be read in some namespace. `served` are the resources the API
    server has (`group/version` -> plurals), None where it was not asked. `gateway` and `namespace` narrow down what is
    looked at.
    """

    def __init__(
        self,
        items: Iterable[Object],
        home: str = "default",
        *,
        live: bool = False,
        unread: Mapping[str, str] | None = None,
        hidden: Iterable[tuple[str, str]] = (),
        served: Mapping[str, frozenset[str]] | None = None,
        namespace: str | None = None,
        gateway: str | None = None,
    ) -> None:
        self.live = live
        self.unread = unread or {}
        self.hidden = frozenset(hidden)
        self.served = served
        self.namespace = namespace
        self.gateway = gateway
        self._kinds: dict[str, list[Object]] = {}
        for item in items:
            kind = text(item, "kind")
            group = text(item, "apiVersion").rpartition("/")[0]
            if group in KINDS.get(kind, ()) and name_of(item):
                self._kinds.setdefault(kind, []).append(_placed(item, home))
        self.templates = list(self._templates())
        self.workloads = self._running()
        self._labelled: dict[tuple[str, str, str], list[Workload]] = {}
        for workload in self.workloads:
            for label, value in workload.labels.items():
                self._labelled.setdefault((workload.namespace, label, value), []).append(workload)

    def all(self, kind: str) -> Sequence[Object]:
        """Every object of a kind."""
        return self._kinds.get(kind, ())

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object of that name."""
        for item in self.all(kind):
            if name_of(item) == name and namespace_of(item) == namespace:
                return item
        return None

    def pools(self) -> list[Object]:
        """The InferencePools that are looked at."""
        return [pool for pool in self.all("InferencePool") if self.namespace in (None, namespace_of(pool))]

    def in_namespace(self, namespace: str) -> list[Workload]:
        """What runs there."""
        return [workload for workload in self.workloads if workload.namespace == namespace]

    def selected(self, namespace: str, labels: Mapping[str, str]) -> list[Workload]:
        """What runs there with these labels; no labels select nothing, as for a Service."""
        if not labels:
            return []
        having = [self._labelled.get((namespace, label, value), []) for label, value in labels.items()]
        return [w for w in min(having, key=len) if labels.items() <= w.labels.items()]

    def _running(self) -> list[Workload]:
        """Pods where they are known, else what would make them."""
        pods = [
            _workload(pod, pod, _is_ready(pod) if self.live else None) for pod in self.all("Pod") if not _is_over(pod)
        ]
        return pods if self.live and "Pod" not in self.unread else [*self.templates, *pods]

    def _templates(self) -> Iterator[Workload]:
        """What makes pods."""
        for kind, paths in TEMPLATES.items():
            for item in self.all(kind):
                for path in paths:
                    template = at(item, *path)
                    if isinstance(template, Mapping):
                        yield _workload(item, template, None)


def _placed(item: Object, home: str) -> Object:
    if namespace_of(item) or text(item, "kind") in OF_THE_CLUSTER:
        return item
    return {**item, "metadata": {**item["metadata"], "namespace": home}}


def _workload(item: Object, template: Object, ready: bool | None) -> Workload:
    spec = at(template, "spec")
    named = f"{text(item, 'kind')} {namespace_of(item)}/{name_of(item)}"
    labels = pairs(template, "metadata", "labels")
    return Workload(named, namespace_of(item), labels, spec if isinstance(spec, Mapping) else {}, ready)


def _is_over(pod: Object) -> bool:
    return bool(at(pod, "metadata", "deletionTimestamp")) or text(pod, "status", "phase") in ("Succeeded", "Failed")


def _is_ready(pod: Object) -> bool:
    conditions = objects(pod, "status", "conditions")
    return any(text(c, "type") == "Ready" and text(c, "status") == "True" for c in conditions)
