"""Which pools are ours, by what the flags say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from epp.datastore import objects
from epp.datastore.objects import InferencePool
from epp.datastore.selectors import Selector


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pools are ours: those named (`namespace/name`), and in `namespace` those with labels or with our Service.

    `pods` stands for pools: the endpoints are pods of the namespace by label and port, and there is no pool object.
    """

    namespace: str
    group: str = objects.POOL_GROUP
    named: frozenset[str] = frozenset()
    labels: Selector | None = None
    service: str | None = None
    pods: tuple[Selector, tuple[int, ...]] | None = None

    @property
    def namespaces(self) -> list[str]:
        """Where to look for pools."""
        found = {key.partition("/")[0] for key in self.named}
        return sorted(found | ({self.namespace} if self.labels or self.service or not found else set()))

    def is_ours(self, pool: InferencePool) -> bool:
        """Whether we pick for this pool."""
        if pool.key in self.named:
            return True
        by_label = self.labels is not None and self.labels.matches(pool.labels)
        by_service = self.service is not None and pool.picker == self.service
        return pool.namespace == self.namespace and (by_label or by_service)

    def missing(self, namespace: str, pools: Collection[InferencePool]) -> list[str]:
        """What was asked for in a namespace and is not among its pools."""
        there = {pool.key for pool in pools}
        named = sorted(key for key in self.named if key.partition("/")[0] == namespace)
        said = [f"there is no InferencePool {key}" for key in named if key not in there]
        if namespace == self.namespace and not any(self.is_ours(pool) for pool in pools):
            if self.labels is not None:
                said.append(f"no InferencePool in namespace {namespace} has the labels {self.labels}")
            if self.service is not None:
                said.append(f"no InferencePool in namespace {namespace} names the Service {self.service} as its picker")
        return said
