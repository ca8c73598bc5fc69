"""Kubernetes objects -> the fleet: which pools are ours, which endpoints they have, which policies apply to them.

Must stay true: every change reaches the fleet, and many changes at once reach it together; a pool that cannot be read
holds up no other; what is known stays in use while the API server is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from epp.datastore import objects
from epp.datastore.fleet import Fleet
from epp.datastore.membership import Naming
from epp.datastore.objects import BadObject, InferencePool
from epp.datastore.policies import Policies
from epp.datastore.selectors import Selector
from epp.edge.kinds import Kinds, decode_pool
from epp.edge.kube.client import ApiError, Kube, Resource
from epp.edge.kube.informer import Informer, Key
from epp.edge.members import Followed, Members
from epp.edge.notices import Notice, Notices
from epp.edge.together import Together
from epp.edge.troubles import Namespace, Troubles, speaks_http
from epp.edge.wanted import Wanted

log = logging.getLogger(__name__)
_T = TypeVar("_T")

CONFLICTS_SHOWN_MAX = 50  # two rewrites that share their names have a conflict for each
ASK_AGAIN_S = 30.0  # for definitions that are installed after us
OLD_GROUPS = (objects.OLD_POOL_GROUP,)
DISCOVERY_PAUSE_S = 2.0
LOOK_S = 0.5
PATIENCE_S = 15.0  # for the first sight of every pool; then those that were seen have to do


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
    _namespaces: dict[str, Namespace] = field(default_factory=dict)
    _followed: dict[str, Followed] = field(default_factory=dict)
    _impatient: bool = False
    _discovery: str | None = "the API server has not been asked yet"
    _running: dict[Informer[Any], asyncio.Task[None]] = field(default_factory=dict)
    _conflicts: frozenset[Notice] = frozenset()
    _notices: Notices = field(init=False)
    _troubles: Troubles = field(init=False)
    _kinds: Kinds = field(init=False)
    _policies_due: Together = field(init=False)
    _tasks: asyncio.TaskGroup = field(init=False)

    def __post_init__(self) -> None:
        self._policies_due = Together(self._set_policies)
        self._notices = Notices(self.notice)
        self._troubles = Troubles(self.fleet, self.wanted, self._namespaces, self._followed)
        self._kinds = Kinds(self.kube, self.wanted)

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._keep_looking(), name="readiness")
            if self.wanted.pods is not None:
                self._follow_pods(*self.wanted.pods)
            for namespace in self.wanted.namespaces if self.wanted.pods is None else ():
                self._tasks.create_task(self._follow(namespace), name=f"pools of {namespace}")

    def conditions(self) -> dict[str, Callable[[], Any]]:
        """By name, what there is to know of each kind of object; empty while all is well."""

        def said(kind: str) -> Callable[[], Any]:
            return lambda: {n: c for n, s in self._namespaces.items() if (c := getattr(s, kind).condition)} or None

        return {
            "discovery": lambda: self._discovery,
            "inferencepools": lambda: {n: c for n in self._namespaces if (c := self._troubles.of_pools(n))} or None,
            "inferenceobjectives": said("objectives"),
            "inferencemodelrewrites": said("rewrites"),
            "pods": lambda: {key: c for key, f in self._followed.items() if (c := f.condition)} or None,
            "conflicts": lambda: sorted(map(str, self._conflicts))[:CONFLICTS_SHOWN_MAX] or None,
        }

    def alarms(self) -> dict[str, Callable[[], Any]]:
        """The conditions without what many clusters just do not have: objectives, rewrites."""

        def said(kind: str) -> Callable[[], Any]:
            return lambda: any(_is_alarm(getattr(space, kind)) for space in list(self._namespaces.values()))

        kinds = {"inferenceobjectives": "objectives", "inferencemodelrewrites": "rewrites"}
        return {**self.conditions(), **{name: said(kind) for name, kind in kinds.items()}}

    async def _follow(self, namespace: str) -> None:
        """Follow what this cluster has; what it had not, or only in an older version, and gets later, then too."""
        self._start(namespace, await self._resources(namespace))
        while True:
            await asyncio.sleep(ASK_AGAIN_S)
            if any(i.absent or i.resource.group in OLD_GROUPS for i in self._namespaces[namespace].informers):
                with suppress(ApiError):  # the informers say what is wrong
                    self._start(namespace, await self._kinds.ask(namespace))

    def _start(self, namespace: str, found: tuple[Resource, Resource, Resource]) -> None:
        """An informer for each of these resources that has none yet."""
        before = self._namespaces.get(namespace)
        pools, objectives, rewrites = found
        self._namespaces[namespace] = after = Namespace(
            _kept(before.pools if before else None, pools) or self._pools(pools, namespace),
            _kept(before.objectives if before else None, objectives)
            or self._informer(objectives, namespace, objects.decode_objective),
            _kept(before.rewrites if before else None, rewrites)
            or self._informer(rewrites, namespace, objects.decode_rewrite),
        )
        for informer in before.informers if before else ():
            if informer not in after.informers:
                self._running.pop(informer).cancel()
        for informer in after.informers:
            if informer not in self._running:
                name = f"{informer.resource} in {namespace}"
                self._running[informer] = self._tasks.create_task(informer.run(), name=name)

    def _pools(self, resource: Resource, namespace: str) -> Informer[InferencePool]:
        return Informer(
            self.kube,
            resource,
            namespace,
            lambda tree: decode_pool(resource, tree),
            bad=BadObject,
            on_change=self._pool_changed,
            on_synced=lambda: self._pools_seen(namespace),
        )

    def _informer(self, resource: Resource, namespace: str, decode: Callable[[Any], Any]) -> Informer[Any]:
        return Informer(
            self.kube,
            resource,
            namespace,
            decode,
            bad=BadObject,
            optional=True,
            on_change=lambda key, old, new: self._policies_due.soon(),
        )

    async def _resources(self, namespace: str) -> tuple[Resource, Resource, Resource]:
        """Pools, objectives and rewrites in the versions this cluster has; asked until the API server answers."""
        while True:
            try:
                resources = await self._kinds.ask(namespace)
            except ApiError as error:
                if self._discovery != str(error):
                    log.warning("the API server cannot be asked for its resources: %s", error)
                self._discovery = str(error)
                await asyncio.sleep(DISCOVERY_PAUSE_S)
            else:
                self._discovery = None
                return resources

    def _pool_changed(self, key: Key, old: InferencePool | None, new: InferencePool | None) -> None:
        name = "/".join(key)
        followed = self._followed.get(name)
        if new is not None and self.wanted.is_ours(new) and speaks_http(new):
            if followed is None:
                followed = self._followed[name] = Followed(self.kube, self.fleet, name, self.naming, self._look)
            followed.follow(Members.of(new), self._tasks)
        elif followed is not None:
            self._drop(name)
        self._policies_due.soon()
        self._look()

    def _drop(self, key: str) -> None:
        self._followed.pop(key).stop()
        self.fleet.empty(key)

    def _pools_seen(self, namespace: str) -> None:
        known = {pool.key for pool in self._namespaces[namespace].pools.objects.values()}
        for key in self._followed.keys() - known:
            if key.startswith(f"{namespace}/"):  # of an older kind of pool that is followed no more
                self._drop(key)
        self._policies_due.soon()  # what names none of them names a pool that does not exist
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
            self._notices.now([*self._conflicts, *self._troubles.others()])

    def _look(self) -> None:
        """Whether we are ready now."""
        synced = [followed.synced for followed in self._followed.values()]
        spaces = len(self._namespaces) == len(self.wanted.namespaces) or self.wanted.pods is not None
        settled = spaces and all(space.settled for space in self._namespaces.values())
        named = self.wanted.named <= self._followed.keys()
        all_seen = settled and named and all(f.settled for f in self._followed.values())
        ready = any(synced) and (all_seen or self._impatient or self.ready)
        if ready is not self.ready:
            self._set_policies()  # what is known of them counts from the first request on
            self.ready = ready
            self.on_ready(ready)

    def _set_policies(self) -> None:
        """Objectives and rewrites for each pool, and for all of them together; conflicts are noticed once."""
        seen = all(space.pools.synced for space in self._namespaces.values())
        keys = ["/".join(k) for s in self._namespaces.values() for k in (*s.pools.objects, *s.pools.left_out)]
        objectives = [o for s in self._namespaces.values() for o in s.objectives.objects.values()]
        rewrites = [r for s in self._namespaces.values() for r in s.rewrites.objects.values()]
        group = next((p.group for s in self._namespaces.values() for p in s.pools.objects.values()), self.wanted.group)

        def policies_of(*ours: str) -> Policies:
            return Policies(ours, objectives, rewrites, group=group, existing=keys if seen else None)

        for key in self._followed:
            self.fleet.pool(key).policies = policies_of(key)
        self.fleet.all.policies = together = policies_of(*self._followed)
        self._conflicts = self._troubles.conflicts(together)
        self._notices.now([*self._conflicts, *self._troubles.others()])


def _is_alarm(informer: Informer[Any]) -> bool:
    return informer.condition is not None and not (informer.absent and not informer.left_out)


def _kept(informer: Informer[_T] | None, resource: Resource) -> Informer[_T] | None:
    return informer if informer is not None and informer.resource == resource else None
