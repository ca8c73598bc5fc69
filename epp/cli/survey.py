"""A live cluster -> the objects that the doctor looks at.

Must stay true: nothing is written, no Secret is read; what is not there or may not be read is noted with its reason
and never ends the survey.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from epp.doctor import envoyfilters
from epp.doctor.cluster import KINDS, Cluster
from epp.doctor.gateways import rules
from epp.doctor.tree import Object, namespace_of
from epp.domain import ConfigError
from epp.edge.kube.client import ApiError, Kube, Resource

BUILT_IN = {
    "Service": Resource("", "v1", "services", "Service"),
    "Pod": Resource("", "v1", "pods", "Pod"),
    "Deployment": Resource("apps", "v1", "deployments", "Deployment"),
    "Role": Resource("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    "RoleBinding": Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    "ClusterRole": Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"),
    "ClusterRoleBinding": Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding"),
}
PLURALS = {
    "InferencePool": "inferencepools",
    "InferenceObjective": "inferenceobjectives",
    "InferenceModelRewrite": "inferencemodelrewrites",
    "HTTPRoute": "httproutes",
    "GatewayClass": "gatewayclasses",
    "Gateway": "gateways",
    "EnvoyFilter": "envoyfilters",
    "DestinationRule": "destinationrules",
    "EnvoyPatchPolicy": "envoypatchpolicies",
}
ROUTES = ("InferencePool", "InferenceObjective", "InferenceModelRewrite", "HTTPRoute")
AROUND = ("Gateway", "EnvoyFilter", "DestinationRule", "EnvoyPatchPolicy")
OF_THE_CLUSTER = ("GatewayClass", "ClusterRole", "ClusterRoleBinding")
BEHIND = ("Service", "Pod", "Role", "RoleBinding")
ISTIOD = "app=istiod"
FORBIDDEN = 403


async def survey(kube: Kube, namespace: str | None, gateway: str | None) -> Cluster:
    """Everything the checks need of this cluster. Raises ConfigError when it cannot be asked at all."""
    so_far = _Survey(kube, namespace, gateway)
    await so_far.discover()
    home = {namespace or kube.namespace}
    for kind in OF_THE_CLUSTER:
        await so_far.read(kind, set())
    for kind in ROUTES:
        await so_far.read(kind, home)
    gateways = {rule.gateway.partition("/")[0] for rule in rules(so_far.seen)}
    for kind in AROUND:
        await so_far.read(kind, home | gateways, {envoyfilters.ROOT_NAMESPACE})
    await so_far.read("Deployment", set(), {envoyfilters.ROOT_NAMESPACE}, ISTIOD)
    seen = so_far.seen
    called = {patch.target.namespace for patch in envoyfilters.ext_procs(seen) if patch.target is not None}
    pools = {namespace_of(pool) for pool in seen.pools()}
    for kind in BEHIND:
        for each in sorted(pools | called | gateways):
            await so_far.read_in(BUILT_IN[kind], each, must=each in pools)
    return so_far.seen


class _Survey:
    """What has been read so far."""

    def __init__(self, kube: Kube, namespace: str | None, gateway: str | None) -> None:
        self._kube = kube
        self._only = (namespace, gateway)
        self._items: list[Object] = []
        self._unread: dict[str, str] = {}
        self._hidden: set[tuple[str, str]] = set()
        self._served: dict[str, frozenset[str]] = {}

    @property
    def seen(self) -> Cluster:
        """The cluster as far as it is known."""
        namespace, gateway = self._only
        return Cluster(
            self._items,
            live=True,
            unread=self._unread,
            served=self._served,
            namespace=namespace,
            gateway=gateway,
            hidden=self._hidden,
        )

    async def discover(self) -> None:
        """Which of the kinds that are not built in there are."""
        groups = dict.fromkeys(group for kind in PLURALS for group in KINDS[kind])
        for group in groups:
            try:
                versions = await self._kube.versions(group)
            except ApiError as error:
                if error.status != FORBIDDEN:
                    raise ConfigError("the cluster", str(error)) from error
                self._unread |= {kind: _why(error) for kind in PLURALS if group in KINDS[kind]}
                continue
            self._served |= {f"{group}/{version}": frozenset(plurals) for version, plurals in versions.items()}

    async def read(self, kind: str, needed: set[str], useful: Iterable[str] = (), labels: str = "") -> None:
        """All objects of a kind; where that is forbidden, those of namespaces that are needed, or merely useful."""
        for resource in [BUILT_IN[kind]] if kind in BUILT_IN else self._resources(kind):
            try:
                self._take(resource, (await self._kube.list(resource, None, labels)).items)
            except ApiError as error:
                if error.status != FORBIDDEN or not (needed or useful):
                    self._fail(kind, error)
                    continue
                for each in sorted(needed):
                    await self.read_in(resource, each)
                for each in sorted({*useful} - needed):
                    await self.read_in(resource, each, must=not needed)

    async def read_in(self, resource: Resource, namespace: str, *, must: bool = True) -> None:
        """The objects of one namespace; without those that must be known, the kind counts as unread."""
        try:
            self._take(resource, (await self._kube.list(resource, namespace)).items)
        except ApiError as error:
            if must:
                self._fail(resource.kind, error)
            else:
                self._hidden.add((resource.kind, namespace))

    def _resources(self, kind: str) -> list[Resource]:
        """The kind in each group that has it, in the version the server likes best."""
        plural = PLURALS[kind]
        found: dict[str, Resource] = {}
        for served, plurals in self._served.items():
            group, _, version = served.rpartition("/")
            if group in KINDS[kind] and plural in plurals:
                found.setdefault(group, Resource(group, version, plural, kind))
        return list(found.values())

    def _take(self, resource: Resource, items: Iterable[dict[str, Any]]) -> None:
        """A list's items do not say what they are."""
        self._items += [{**item, "kind": resource.kind, "apiVersion": resource.api_version} for item in items]

    def _fail(self, kind: str, error: ApiError) -> None:
        if error.status != 404:  # gone since we asked what there is
            self._unread[kind] = _why(error)


def _why(error: ApiError) -> str:
    return f"may not be read: {error.message}" if error.status == FORBIDDEN else f"could not be read: {error}"
