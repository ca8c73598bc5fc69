"""What is wrong with the objects that a cluster is followed by: for conditions, and for an Event at each.

Only reads: what is followed, and how, is `cluster.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from epp.datastore.fleet import Fleet
from epp.datastore.objects import InferencePool, Objective, Rewrite
from epp.datastore.policies import Policies
from epp.edge.kube.informer import Informer
from epp.edge.members import NO_POD, Followed
from epp.edge.notices import Notice
from epp.edge.wanted import Wanted

UNREADABLE = "has appProtocol kubernetes.io/h2c: requests to it are gRPC, which is not read here, so it is not used"


@dataclass(slots=True)
class Namespace:
    """What is followed in one namespace."""

    pools: Informer[InferencePool]
    objectives: Informer[Objective]
    rewrites: Informer[Rewrite]

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        """All of them."""
        return self.pools, self.objectives, self.rewrites

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for."""
        return all(informer.settled for informer in self.informers)


@dataclass(frozen=True, slots=True)
class Troubles:
    """Of the namespaces by name and the pools by key, as they are when it is asked."""

    fleet: Fleet
    wanted: Wanted
    namespaces: Mapping[str, Namespace]
    followed: Mapping[str, Followed]

    def of_pools(self, namespace: str) -> str | None:
        """What is wrong with the pools of a namespace, those included that should be there."""
        pools = self.namespaces[namespace].pools
        known = pools.objects.values()
        missing = self.wanted.missing(namespace, known) if pools.synced else []
        unread = [f"{pool.key} {UNREADABLE}" for pool in known if self.wanted.is_ours(pool) and not speaks_http(pool)]
        return "; ".join(filter(None, (pools.condition, *missing, *unread))) or None

    def conflicts(self, together: Policies) -> frozenset[Notice]:
        """The objectives and rewrites that others win over."""
        spaces = self.namespaces.values()
        uids = {("InferenceModelRewrite", r.key): r.uid for s in spaces for r in s.rewrites.objects.values()}
        uids |= {("InferenceObjective", o.key): o.uid for s in spaces for o in s.objectives.objects.values()}
        noticed = []
        for conflict in together.conflicts():
            for loser in conflict.losers:
                namespace, _, name = loser.partition("/")
                space, uid = self.namespaces[namespace], uids.get((conflict.kind, loser), "")
                informer = space.rewrites if conflict.kind == "InferenceModelRewrite" else space.objectives
                noticed.append(Notice(informer.resource, namespace, name, uid, "Conflict", conflict.why))
        return frozenset(noticed)

    def others(self) -> Iterator[Notice]:
        """What else an operator should know."""
        for namespace, space in self.namespaces.items():
            yield from _left_out(space)
            about = space.pools.resource
            if space.pools.synced:
                for key in sorted(self.wanted.named):
                    home, _, name = key.partition("/")
                    if home == namespace and (home, name) not in space.pools.objects:
                        yield Notice(about, home, name, "", "Missing", "there is no such InferencePool")
            for pool in space.pools.objects.values():
                if not self.wanted.is_ours(pool):
                    continue
                said = [("NotUsed", UNREADABLE)] if not speaks_http(pool) else self._of_members(pool)
                for reason, message in said:
                    yield Notice(about, pool.namespace, pool.name, pool.uid, reason, message)

    def _of_members(self, pool: InferencePool) -> list[tuple[str, str]]:
        followed = self.followed.get(pool.key)
        if followed is None or not followed.synced:
            return []
        empty = [] if self.fleet.pool(pool.key).endpoints else [("NoEndpoints", NO_POD)]
        return empty + [("PodNotUsed", note) for note in followed.notes]


def speaks_http(pool: InferencePool) -> bool:
    """Whether requests to it can be read here."""
    return pool.app_protocol == "http"


def _left_out(space: Namespace) -> Iterator[Notice]:
    """The objects that cannot be used."""
    for informer in space.informers:
        for (namespace, name), why in informer.left_out.items():
            message = f"it is not used: {why.removeprefix(f'{namespace}/{name}: ')}"
            uid = informer.uids_left_out.get((namespace, name), "")
            yield Notice(informer.resource, namespace, name, uid, "NotUsed", message)
