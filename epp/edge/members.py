"""One pool's pods, followed by its selector, become its endpoints in the fleet.

Must stay true: a new selector takes effect when its pods are known, and the old endpoints serve until then; a list
that cannot be had changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from epp.datastore import membership
from epp.datastore.fleet import Fleet
from epp.datastore.membership import Naming
from epp.datastore.objects import BadObject, InferencePool, Pod, decode_pod
from epp.datastore.selectors import Selector
from epp.edge.kube.client import Kube, Resource
from epp.edge.kube.informer import Informer
from epp.edge.together import Together

log = logging.getLogger(__name__)

PODS = Resource("", "v1", "pods", "Pod")
NO_POD = "no pod is ready, so the pool has no endpoint"
NOTES_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Members:
    """Which pods are members, and on which ports they are endpoints."""

    namespace: str
    selector: Selector
    ports: tuple[int, ...]

    @classmethod
    def of(cls, pool: InferencePool) -> Members:
        """The members of a pool."""
        return cls(pool.namespace, Selector.of(pool.selector), pool.ports)


class Followed:
    """A pool that is followed; `on_look` is called when it has become known, or cannot be."""

    def __init__(
        self, kube: Kube, fleet: Fleet, key: str, naming: Naming, on_look: Callable[[], None] = lambda: None
    ) -> None:
        self._kube = kube
        self._fleet = fleet
        self._key = key
        self._naming = naming
        self._on_look = on_look
        self._members: Members | None = None
        self._pods: Informer[Pod] | None = None
        self._task: asyncio.Task[None] | None = None
        self.notes: tuple[str, ...] = ()
        self._count: int | None = None
        self._due = Together(self._relist)
        self.synced = False

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.synced or (self._pods is not None and self._pods.settled)

    @property
    def condition(self) -> str | None:
        """What is wrong with the pool's pods; None while all is well."""
        said = [self._pods.condition if self._pods is not None else None, *self.notes[:NOTES_SHOWN_MAX]]
        if len(self.notes) > NOTES_SHOWN_MAX:
            said.append(f"and {len(self.notes) - NOTES_SHOWN_MAX} more")
        if self.synced and not self._fleet.pool(self._key).endpoints:
            said.append(NO_POD)
        return "; ".join(filter(None, said)) or None

    def follow(self, members: Members, tasks: asyncio.TaskGroup) -> None:
        """The pool has these members from now on."""
        before, self._members = self._members, members
        if before is not None and (before.namespace, before.selector) == (members.namespace, members.selector):
            self._due.soon()
            return
        self._stop_watching()
        self._pods = Informer(
            self._kube,
            PODS,
            members.namespace,
            decode_pod,
            bad=BadObject,
            labels=str(members.selector),
            on_change=lambda key, old, new: self._due.soon(),
            on_synced=self._due.soon,
        )
        self._task = tasks.create_task(self._pods.run(), name=f"pods of {self._key}")

    def stop(self) -> None:
        """The pool is gone."""
        self._stop_watching()
        self._due.stop()

    def _stop_watching(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _relist(self) -> None:
        assert self._members is not None
        assert self._pods is not None
        if not self._pods.synced:
            return
        found = membership.selected(
            self._members.namespace,
            self._members.selector,
            self._members.ports,
            self._pods.objects.values(),
            self._naming,
        )
        self.notes = found.notes
        self._fleet.relist(self._key, found.listed)
        if len(found.listed) != self._count:
            log.info("pool %s has %d endpoints", self._key, len(found.listed))
            self._count = len(found.listed)
        if not self.synced:
            self.synced = True
            self._on_look()
