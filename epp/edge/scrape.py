"""Visits every endpoint of the pool at its own pace.

Must stay true: one endpoint's trouble, be it slow, wrong or a surprise to us, never holds up the others; an endpoint
that has left the pool is not visited again; an endpoint has one visit at a time, and one that rests is looked at again
within an interval of being sent a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random

from epp.datastore.cadence import Rest
from epp.datastore.pool import Pool
from epp.domain import Endpoint
from epp.edge.fetch import Client
from epp.edge.visit import OWN_PORT, Dial, OnFailure, OnProbe, ScrapeLimits, Source, Visitor


class Scraper:
    """Keeps `load`, `probe`, `models` and `reachable` of the pool's endpoints.

    `now` is the clock of `Load.at`, the one the director reads. `on_probe` hears of an endpoint that is found to tell
    other things than before.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        now: Callable[[], float],
        interval_s: float = 0.5,
        limits: ScrapeLimits | None = None,
        rng: Random | None = None,
        on_failure: OnFailure = lambda path, answered: None,
        on_probe: OnProbe = lambda endpoint: None,
        source: Source = OWN_PORT,
        dial: Dial = Client,
        on_visit: Callable[[], None] = lambda: None,
    ) -> None:
        self.dial = dial
        self.on_failure = on_failure
        self.on_probe = on_probe
        self.source = source
        self.on_visit = on_visit
        self.pool = pool
        self.now = now
        self.interval_s = interval_s
        self.limits = limits or ScrapeLimits()
        self.rng = rng or Random()
        self._visitors: dict[Endpoint, tuple[Visitor, asyncio.Task[None]]] = {}
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(self.limits.concurrency_max)

    @property
    def errors(self) -> dict[str, Mapping[str, str]]:
        """Endpoint name -> path -> why its last answer was of no use; endpoints without trouble are left out."""
        return {visitor.endpoint.name: visitor.errors for visitor, _ in self._visitors.values() if visitor.errors}

    @property
    def settled(self) -> bool:
        """Whether every endpoint of the pool has been visited."""
        return all(e in self._visitors and self._visitors[e][0].cadence.visits > 0 for e in self.pool.endpoints)

    def wake(self) -> None:
        """The pool has changed: new endpoints need not wait for the next look at it."""
        self._woken.set()

    async def run(self) -> None:
        """Follow the pool until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                self._sync(tasks)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.limits.follow_s):
                        await self._woken.wait()

    def _sync(self, tasks: asyncio.TaskGroup) -> None:
        for endpoint in self._visitors.keys() - set(self.pool.endpoints):
            _, task = self._visitors.pop(endpoint)
            task.cancel()
        for endpoint in self.pool.endpoints:
            if endpoint not in self._visitors:
                visitor = self._visitor(endpoint)
                task = tasks.create_task(self._follow(visitor), name=f"scrape {endpoint.name}")
                self._visitors[endpoint] = visitor, task

    def _visitor(self, endpoint: Endpoint) -> Visitor:
        return Visitor(
            endpoint,
            self.now,
            self.limits,
            self.on_failure,
            source=self.source,
            on_probe=self.on_probe,
            dial=self.dial,
        )

    async def _follow(self, visitor: Visitor) -> None:
        try:
            while True:
                async with self._slots:
                    await visitor.visit()
                self.on_visit()
                interval_s = pace(self.interval_s, len(self._visitors), self.limits)
                await self._rest(visitor, visitor.cadence.rest(interval_s, self.rng), interval_s)
        finally:
            visitor.close()

    async def _rest(self, visitor: Visitor, rest: Rest, interval_s: float) -> None:
        """Until the next visit is due. An idle endpoint's rest ends early when there is a reason to look."""
        await asyncio.sleep(rest.least_s)
        left_s = rest.idle_s - rest.least_s
        while left_s > 0 and not visitor.wanted:
            await asyncio.sleep(min(left_s, interval_s))
            left_s -= interval_s


def pace(interval_s: float, count: int, limits: ScrapeLimits) -> float:
    """Seconds between visits to one of `count` endpoints, longer where so many would leave no time for requests."""
    return max(interval_s, count / limits.visits_per_s_max)
