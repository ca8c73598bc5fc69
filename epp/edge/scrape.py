"""Visits every endpoint of the pool at its own pace.

Must stay true: one endpoint's trouble, be it slow, wrong or a surprise to us, never holds up the others; an endpoint
that has left the pool is not visited again; an endpoint has one visit at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random

import aiohttp

from epp.datastore.pool import Pool
from epp.domain import Endpoint
from epp.edge import fetch
from epp.edge.visit import OnFailure, ScrapeLimits, Visitor

DOUBLINGS_MAX = 16


class Scraper:
    """Keeps `load`, `models` and `reachable` of the pool's endpoints.

    `now` is the clock of `Load.at`, the one the director reads.
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
        on_visit: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_failure = on_failure
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
        return all(e in self._visitors and self._visitors[e][0].visits > 0 for e in self.pool.endpoints)

    def wake(self) -> None:
        """The pool has changed: new endpoints need not wait for the next look at it."""
        self._woken.set()

    async def run(self) -> None:
        """Follow the pool until cancelled."""
        client = fetch.session(self.limits.connect_timeout_s, self.limits.timeout_s)
        async with client, asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                self._sync(client, tasks)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.limits.follow_s):
                        await self._woken.wait()

    def _sync(self, client: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> None:
        for endpoint in self._visitors.keys() - set(self.pool.endpoints):
            _, task = self._visitors.pop(endpoint)
            task.cancel()
        for endpoint in self.pool.endpoints:
            if endpoint not in self._visitors:
                visitor = Visitor(endpoint, client, self.now, self.limits, self.on_failure)
                task = tasks.create_task(self._follow(visitor), name=f"scrape {endpoint.name}")
                self._visitors[endpoint] = visitor, task

    async def _follow(self, visitor: Visitor) -> None:
        while True:
            async with self._slots:
                await visitor.visit()
            self.on_visit()
            interval_s = pace(self.interval_s, len(self._visitors), self.limits)
            await asyncio.sleep(pause(visitor.visits, visitor.failures, interval_s, self.limits, self.rng))


def pace(interval_s: float, count: int, limits: ScrapeLimits) -> float:
    """Seconds between visits to one of `count` endpoints, longer where so many would leave no time for requests."""
    return max(interval_s, count / limits.visits_per_s_max)


def pause(visits: int, failures: int, interval_s: float, limits: ScrapeLimits, rng: Random) -> float:
    """Seconds until the next visit, after `visits` of which the last `failures` were of no use."""
    if visits <= 1:
        # All first visits of a pool come together; from here on they are spread over the whole interval.
        return rng.uniform(0.0, interval_s)
    doublings = min(max(failures - 1, 0), DOUBLINGS_MAX)
    longest = max(interval_s, limits.backoff_s_max)
    return min(interval_s * 2.0**doublings, longest) * rng.uniform(1 - limits.jitter, 1 + limits.jitter)
