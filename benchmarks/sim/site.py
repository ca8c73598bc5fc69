"""Where the replicas stand: what discovery and the scraper know of them, and what befalls them.

Must stay true: a replica that comes back is another endpoint, with nothing cached and no load known; one that is gone
keeps its place in the list until discovery takes note, and its last sample, as scrapers keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.sim.loop import VirtualLoop
from benchmarks.sim.member import Member
from benchmarks.sim.pickers import Picker
from benchmarks.workloads.workload import Happening, Shape
from epp.datastore.pool import Listed

NAMESPACE, POOL, GROUP = "sim", "sim", "inference.networking.k8s.io"
CLASSES = {"critical": 10, "standard": 0, "sheddable": -1}


class Site:
    """The replicas; `lost` is told of one that is gone."""

    def __init__(
        self,
        loop: VirtualLoop,
        pickers: Sequence[Picker],
        members: Sequence[Member],
        *,
        lost: Callable[[Member], None],
    ) -> None:
        self._loop = loop
        self._pools = list({id(picker.pool): picker.pool for picker in pickers}.values())
        self._profiles = list({id(picker.profile): (picker.profile, picker.pool) for picker in pickers}.values())
        self._members = members
        self._lost = lost

    def open(self, shape: Shape, span_s: float) -> None:
        """The fleet as it is in the beginning, and what will happen in `span_s` seconds of arrivals."""
        for member in self._members:
            member.alive = not shape.absent
        self.list()
        for happening in shape.happenings:
            if happening.replica < len(self._members):
                self._loop.at(happening.share * span_s + happening.after_s, self.happen, happening)

    def list(self) -> None:
        """Discovery takes note of who is there."""
        listed = [
            Listed(m.name, m.address, declared=m.serves, pod=f"{m.name}/{m.life}") for m in self._members if m.alive
        ]
        for pool in self._pools:
            pool.relist(listed)
        for member in self._members:
            member.endpoints = [e for pool in self._pools if (e := pool.at(member.address)) is not None]
        for profile, pool in self._profiles:
            profile.relisted(pool.endpoints)

    def happen(self, happening: Happening) -> None:
        """One of the things that may happen."""
        member = self._members[happening.replica]
        if happening.what == "list":
            self.list()
        elif happening.what == "slow":
            member.replica.slowdown = happening.factor
        elif happening.what == "start":
            member.start()
        else:
            member.kill()
            self._lost(member)

    def scrape(self) -> None:
        """A visit to every listed replica."""
        now = self._loop.now
        for member in self._members:
            for endpoint in member.endpoints:
                endpoint.reachable = member.alive
                if member.alive:
                    endpoint.load = member.sample(now)
