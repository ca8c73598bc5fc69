"""Which kinds of objects a cluster has, and which of two versions of one kind is to be followed.

Must stay true: what the server does not let us ask is taken to be there, since the list will show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from epp.datastore import objects
from epp.datastore.objects import BadObject, InferencePool
from epp.edge.kube.client import ApiError, Kube, Resource
from epp.edge.wanted import Wanted

OLD_POOLS = Resource(objects.OLD_POOL_GROUP, "v1alpha2", "inferencepools", "InferencePool")
POLICY_GROUPS = ("llm-d.ai", objects.OLD_POOL_GROUP)  # the newer first; the older counts only where it is alone
POLICY_VERSION = "v1alpha2"


@dataclass(frozen=True, slots=True)
class Kinds:
    """Asks the API server."""

    kube: Kube
    wanted: Wanted

    async def ask(self, namespace: str) -> tuple[Resource, Resource, Resource]:
        """Pools, objectives and rewrites, for the pools of one namespace. Raises ApiError."""
        pools = await self._pool_kind(namespace)
        objectives = await self._policy("inferenceobjectives", "InferenceObjective")
        return pools, objectives, await self._policy("inferencemodelrewrites", "InferenceModelRewrite")

    async def _pool_kind(self, namespace: str) -> Resource:
        """The newer where there is one, but not for as long as all pools of ours are of the older."""
        newer = Resource(self.wanted.group, "v1", "inferencepools", "InferencePool")
        if not await self._offers(OLD_POOLS):
            return newer
        if not await self._offers(newer):
            return OLD_POOLS
        is_newer = await self._has_ours(newer, namespace) or not await self._has_ours(OLD_POOLS, namespace)
        return newer if is_newer else OLD_POOLS

    async def _has_ours(self, resource: Resource, namespace: str) -> bool:
        try:
            trees = (await self.kube.list(resource, namespace)).items
        except ApiError as error:
            if not error.is_denied:
                raise
            return False
        return any(self._is_ours(resource, tree) for tree in trees)

    def _is_ours(self, resource: Resource, tree: Mapping[str, Any]) -> bool:
        try:
            return self.wanted.is_ours(decode_pool(resource, tree))
        except BadObject:
            return False

    async def _policy(self, plural: str, kind: str) -> Resource:
        """In the first group that has it; in the newer one where none has, which then says so in its condition."""
        choices = [Resource(group, POLICY_VERSION, plural, kind) for group in POLICY_GROUPS]
        for resource in choices:
            if await self._offers(resource):
                return resource
        return choices[0]

    async def _offers(self, resource: Resource) -> bool:
        """Whether the cluster has it; where we may not ask, the list will show."""
        try:
            return resource.plural in (await self.kube.versions(resource.group)).get(resource.version, ())
        except ApiError as error:
            if error.status != 403:
                raise
            return True


def decode_pool(resource: Resource, tree: Mapping[str, Any]) -> InferencePool:
    return objects.decode_pool({**tree, "apiVersion": resource.api_version})  # which lists may leave out
