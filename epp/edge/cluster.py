"""Kubernetes objects -> the fleet: which pools are ours, which endpoints they have, which policies apply to them.

Must stay true: every change reaches the fleet, and many changes at once reach it together; a pool that cannot be read
holds up no other; what is known stays in use while the API server is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from epp.datastore import objects, policies
from epp.datastore.fleet import Fleet
from epp.datastore.membership import Naming
from epp.datastore.objects import BadObject, InferencePool, Objective, Rewrite
from epp.datastore.policies import Policies
from epp.datastore.selectors import Selector
from epp.edge.kube.client import ApiError, Kube, Resource
from epp.edge.kube.informer import Informer, Key
from epp.edge.members import Followed, Members
from epp.edge.together import Together

log = logging.getLogger(__name__)

OLD_POOLS = Resource(objects.OLD_POOL_GROUP, "v1alpha2", "inferencepools", "InferencePool")
POLICY_GROUPS = ("llm-d.ai", objects.OLD_POOL_GROUP)  # the newer first; the older counts only where it is alone
POLICY_VERSION = "v1alpha2"
CONFLICTS_SHOWN_MAX = 50  # two rewrites that share their names have a conflict for each
DISCOVERY_PAUSE_S = 2.0
LOOK_S = 0.5
PATIENCE_S = 15.0  # for the first sight of every pool; then those that were seen have to do


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


@dataclass(frozen=True, slots=True)
class Notice:
    """Something an operator must know of one object; becomes a Kubernetes Event where we may write some."""

    about: Resource
    namespace: str
    name: str
    uid: str
    reason: str
    message: str
    kind: Literal["Normal", "Warning"] = "Warning"

    def __str__(self) -> str:
        return f"{self.about.kind} {self.namespace}/{self.name}: {self.message}"


@dataclass(slots=True)
class _Namespace:
    """What is followed in one namespace."""

    pools: Informer[InferencePool]
    objectives: Informer[Objective]
    rewrites: Informer[Rewrite]

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.pools.settled and self.objectives.settled and self.rewrites.settled


@dataclass(slots=True)
class Cluster:
    """Keeps `fleet` equal to what the API server says, from `run` on.

    `on_ready` hears, at each change, whether there is a pool and all of them (after a while: some) have been seen.
    """

    kube: Kube
    fleet: Fleet
    wanted: Wanted
    naming: Naming
    on_ready: Callable[[bool], None] = lambda ready: None
    notice: Callable[[Notice], None] = lambda notice: None
    ready: bool = False
    _namespaces: dict[str, _Namespace] = field(default_factory=dict)
    _followed: dict[str, Followed] = field(default_factory=dict)
    _impatient: bool = False
    _discovery: str | None = "the API server has not been asked yet"
    _noticed: frozenset[Notice] = frozenset()
    _policies_due: Together = field(init=False)
    _tasks: asyncio.TaskGroup = field(init=False)

    def __post_init__(self) -> None:
        self._policies_due = Together(self._set_policies)

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._keep_looking(), name="readiness")
            if self.wanted.pods is not None:
                self._follow_pods(*self.wanted.pods)
            for namespace in self.wanted.namespaces if self.wanted.pods is None else ():
                self._tasks.create_task(self._follow(namespace), name=f"pools of {namespace}")

    def conditions(self) -> dict[str, Callable[[], Any]]:
        """By name, what an operator must know of each kind of object; empty while all is well."""

        def said(kind: str) -> Callable[[], Any]:
            return lambda: {n: c for n, s in self._namespaces.items() if (c := getattr(s, kind).condition)} or None

        return {
            "discovery": lambda: self._discovery,
            "inferencepools": said("pools"),
            "inferenceobjectives": said("objectives"),
            "inferencemodelrewrites": said("rewrites"),
            "pods": lambda: {key: c for key, f in self._followed.items() if (c := f.condition)} or None,
            "conflicts": lambda: [str(notice) for notice in self._sorted()[:CONFLICTS_SHOWN_MAX]] or None,
        }

    async def _follow(self, namespace: str) -> None:
        pools, objectives, rewrites = await self._resources()
        space = self._namespaces[namespace] = _Namespace(
            Informer(
                self.kube,
                pools,
                namespace,
                lambda tree: objects.decode_pool({**tree, "apiVersion": pools.api_version}),  # lists may leave it out
                bad=BadObject,
                on_change=self._pool_changed,
                on_synced=self._look,
            ),
            self._informer(objectives, namespace, objects.decode_objective),
            self._informer(rewrites, namespace, objects.decode_rewrite),
        )
        for informer in (space.pools, space.objectives, space.rewrites):
            self._tasks.create_task(informer.run(), name=f"{informer.resource} in {namespace}")

    def _informer(self, resource: Resource, namespace: str, decode: Callable[[Any], Any]) -> Informer[Any]:
        return Informer(
            self.kube,
            resource,
            namespace,
            decode,
            bad=BadObject,
            on_change=lambda key, old, new: self._policies_due.soon(),
        )

    async def _resources(self) -> tuple[Resource, Resource, Resource]:
        """Pools, objectives and rewrites in the versions this cluster has; asked until the API server answers."""
        while True:
            try:
                resources = await self._ask()
            except ApiError as error:
                if self._discovery != str(error):
                    log.warning("the API server cannot be asked for its resources: %s", error)
                self._discovery = str(error)
                await asyncio.sleep(DISCOVERY_PAUSE_S)
            else:
                self._discovery = None
                return resources

    async def _ask(self) -> tuple[Resource, Resource, Resource]:
        pools = Resource(self.wanted.group, "v1", "inferencepools", "InferencePool")
        if not _has(await self.kube.versions(pools.group), pools) and _has(
            await self.kube.versions(OLD_POOLS.group), OLD_POOLS
        ):
            pools = OLD_POOLS
        objectives = await self._policy("inferenceobjectives", "InferenceObjective")
        return pools, objectives, await self._policy("inferencemodelrewrites", "InferenceModelRewrite")

    async def _policy(self, plural: str, kind: str) -> Resource:
        """In the first group that has it; in the newer one where none has, which then says so in its condition."""
        choices = [Resource(group, POLICY_VERSION, plural, kind) for group in POLICY_GROUPS]
        for resource in choices:
            if _has(await self.kube.versions(resource.group), resource):
                return resource
        return choices[0]

    def _pool_changed(self, key: Key, old: InferencePool | None, new: InferencePool | None) -> None:
        name = "/".join(key)
        followed = self._followed.get(name)
        if new is not None and self.wanted.is_ours(new):
            if followed is None:
                followed = self._followed[name] = Followed(self.kube, self.fleet, name, self.naming, self._look)
            followed.follow(Members.of(new), self._tasks)
        elif followed is not None:
            del self._followed[name]
            followed.stop()
            self.fleet.empty(name)
        self._policies_due.soon()
        self._look()

    def _follow_pods(self, selector: Selector, ports: tuple[int, ...]) -> None:
        key = f"{self.wanted.namespace}/{self.fleet.all.name}"
        self._discovery = None
        self._followed[key] = Followed(self.kube, self.fleet, key, self.naming, self._look)
        self._followed[key].follow(Members(self.wanted.namespace, selector, ports), self._tasks)

    async def _keep_looking(self) -> None:
        """What is denied tells nobody, so look by ourselves; and in the end do with what there is."""
        ends = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            await asyncio.sleep(LOOK_S)
            self._impatient = self._impatient or asyncio.get_running_loop().time() >= ends
            self._look()

    def _look(self) -> None:
        """Whether we are ready now."""
        synced = [followed.synced for followed in self._followed.values()]
        spaces = len(self._namespaces) == len(self.wanted.namespaces) or self.wanted.pods is not None
        settled = spaces and all(space.settled for space in self._namespaces.values())
        all_seen = settled and all(f.settled for f in self._followed.values())
        ready = any(synced) and (all_seen or self._impatient or self.ready)
        if ready is not self.ready:
            self._set_policies()  # what is known of them counts from the first request on
            self.ready = ready
            self.on_ready(ready)

    def _set_policies(self) -> None:
        """Objectives and rewrites for each pool, and for all of them together; conflicts are noticed once."""
        existing = [pool.key for s in self._namespaces.values() for pool in s.pools.objects.values()]
        objectives = [o for s in self._namespaces.values() for o in s.objectives.objects.values()]
        rewrites = [r for s in self._namespaces.values() for r in s.rewrites.objects.values()]
        group = next((p.group for s in self._namespaces.values() for p in s.pools.objects.values()), self.wanted.group)

        def policies_of(*keys: str) -> Policies:
            return Policies(keys, objectives, rewrites, group=group, existing=existing)

        for key in self._followed:
            self.fleet.pool(key).policies = policies_of(key)
        self.fleet.all.policies = together = policies_of(*self._followed)
        uids = {r.key: r.uid for r in rewrites}
        noticed = frozenset(
            self._notice(conflict, loser, uids) for conflict in together.conflicts() for loser in conflict.losers
        )
        for notice in sorted(noticed - self._noticed, key=lambda n: n.message)[:CONFLICTS_SHOWN_MAX]:
            log.warning("%s", notice)
            self.notice(notice)
        self._noticed = noticed

    def _notice(self, conflict: policies.Conflict, loser: str, uids: Mapping[str, str]) -> Notice:
        namespace, _, name = loser.partition("/")
        space = self._namespaces[namespace]
        about = space.rewrites.resource if conflict.kind == "InferenceModelRewrite" else space.objectives.resource
        return Notice(about, namespace, name, uids.get(loser, ""), "Conflict", conflict.why)

    def _sorted(self) -> list[Notice]:
        return sorted(self._noticed, key=lambda n: (n.about.kind, n.namespace, n.name, n.message))


def _has(versions: Mapping[str, set[str]], resource: Resource) -> bool:
    return resource.plural in versions.get(resource.version, ())
