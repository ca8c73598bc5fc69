"""Composes what follows an API server: the cluster's objects, the leader election, the events."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from epp.datastore.fleet import Fleet
from epp.datastore.selectors import parse
from epp.edge.cluster import Cluster
from epp.edge.kube.client import Kube, connect
from epp.edge.kube.events import ObjectRef, Recorder
from epp.edge.kube.leader import Leader, lease_name
from epp.edge.kube.lease import LEASES
from epp.edge.notices import Notice
from epp.edge.wanted import Wanted
from epp.settings import Settings

SYNCED, LEADING = "kubernetes", "leader"


class Kubernetes:
    """Everything that talks to the API server; `requires` are the conditions of readiness that it tells of.

    Raises ConfigError where no API server can be told from the settings and the surroundings.
    """

    def __init__(self, settings: Settings, fleet: Fleet) -> None:
        self._kube: Kube = connect(settings.kubeconfig)
        self.namespace = settings.pool_namespace or os.environ.get("NAMESPACE") or self._kube.namespace
        self._recorder = Recorder(self._kube) if settings.events else None
        self._cluster = Cluster(self._kube, fleet, wanted(settings, self.namespace), settings.naming, notice=self._note)
        self._leader: Leader | None = None
        if settings.ha_enable_leader_election:
            name = lease(settings, self.namespace)
            self._leader = Leader(self._kube, self.namespace, name, identity(), self._leads)
        self.requires = (SYNCED, LEADING) if self._leader is not None else (SYNCED,)

    @property
    def synced(self) -> bool:
        """Whether our pools and their endpoints are known."""
        return self._cluster.ready

    @property
    def conditions(self) -> Mapping[str, Callable[[], Any]]:
        """What an operator must know, by name."""
        found = dict(self._cluster.conditions())
        leader, recorder = self._leader, self._recorder
        if leader is not None:
            found["leader"] = lambda: leader.condition
        if recorder is not None:
            found["events"] = lambda: recorder.condition
        return found

    @property
    def alarms(self) -> Mapping[str, Callable[[], Any]]:
        """Those of the conditions that somebody should do something about."""
        return {**self.conditions, **self._cluster.alarms()}

    async def run(self, tell: Callable[[str, bool], None], leads: Callable[[str, bool], None]) -> None:
        """Until cancelled; `tell` hears of the conditions in `requires`, `leads` of the Lease by its name."""
        self._tell, self._tell_leads = tell, leads
        self._cluster.on_ready = lambda ready: tell(SYNCED, ready)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._cluster.run(), name="cluster")
                if self._recorder is not None:
                    tasks.create_task(self._recorder.run(), name="events")
                if self._leader is not None:
                    leads(self._leader.name, False)
                    tasks.create_task(self._leader.run(), name="leader")
        finally:
            await self._kube.close()

    async def step_down(self) -> None:
        """Let another replica lead at once."""
        if self._leader is not None:
            await self._leader.release()

    def _leads(self, leading: bool) -> None:
        assert self._leader is not None
        self._tell(LEADING, leading)
        self._tell_leads(self._leader.name, leading)
        if self._recorder is not None:
            about = ObjectRef(LEASES, self.namespace, self._leader.name)
            message = f"{self._leader.identity} {'leads' if leading else 'leads no longer'}"
            self._recorder.note(about, "LeaderElection", message, "Normal")

    def _note(self, notice: Notice) -> None:
        if self._recorder is not None:
            about = ObjectRef(notice.about, notice.namespace, notice.name, notice.uid)
            self._recorder.note(about, notice.reason, notice.message, notice.kind)


def wanted(settings: Settings, namespace: str) -> Wanted:
    """The pools that the flags name."""
    named = {f"{pool.namespace or namespace}/{pool.name}" for pool in settings.pool}
    if settings.pool_name:
        named.add(f"{namespace}/{settings.pool_name}")
    return Wanted(
        namespace,
        settings.pool_group,
        frozenset(named),
        None if settings.pool_selector is None else parse(settings.pool_selector),
        settings.picker_service,
        None
        if settings.endpoint_selector is None
        else (parse(settings.endpoint_selector), settings.endpoint_target_ports),
    )


def lease(settings: Settings, namespace: str) -> str:
    """The name of the Lease: that of the pool, of the Service several pools name, of the first pool, of a selector."""
    after = settings.pool_name or settings.picker_service or next((pool.name for pool in settings.pool), None)
    if after is None:
        selector = settings.pool_selector or settings.endpoint_selector or ""
        after = f"selector-{sha256(selector.encode()).hexdigest()[:10]}"
    return lease_name(namespace, after)


def identity() -> str:
    """Of this process: the pod's name, and something that a restarted container does not share."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4()}"
