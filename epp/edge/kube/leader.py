"""One of several replicas leads, by a Lease that all of them compete for.

Must stay true: `leading` ends by the clock, at the latest `renew_s` after the last renewal that succeeded was begun,
even while a request hangs; the lease is given away only by its holder and only when it no longer leads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

from epp.edge.kube.client import ApiError, Kube
from epp.edge.kube.lease import LEASES, Observed, Terms, claimed, released

log = logging.getLogger(__name__)

RELEASE_TRIES_MAX = 3
RELEASE_S_MAX = 5.0


def lease_name(namespace: str, pool: str) -> str:
    """The name that the Go picker uses, so that a mixed deployment has one leader."""
    return f"epp-{namespace}-{pool}.llm-d.ai"


class Leader:
    """A candidate. `identity` is of this process alone; `on_change` hears of each change of `leading`.

    `now` is monotonic and may start anywhere; `wall` is only for people to read.
    """

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        on_change: Callable[[bool], None],
        *,
        terms: Terms | None = None,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: Random | None = None,
    ) -> None:
        self.kube = kube
        self.namespace = namespace
        self.name = name
        self.identity = identity
        self.on_change = on_change
        self.terms = terms or Terms()
        self.now = now
        self.wall = wall
        self.rng = rng or Random()
        self.condition: str | None = None
        self._observed = Observed(identity, self.terms)
        self._until: float | None = None  # None: not leading, and told so
        self._closing = False

    @property
    def leading(self) -> bool:
        """True only while nobody else can be."""
        return self._until is not None and self.now() < self._until

    @property
    def holder(self) -> str:
        """Who held the lease when it was last seen; empty for nobody."""
        return self._observed.holder

    async def run(self) -> None:
        """Compete, and renew what was won, until cancelled or released."""
        while not self._closing:
            await self._attempt()
            await asyncio.sleep(self._pause())
            self._step_down_if_late()

    async def release(self) -> None:
        """Stop for good; if we lead, let somebody else begin at once. Never raises; harmless when called twice."""
        self._closing = True
        led = self._until is not None
        self._follow("shutting down")
        if not led:
            return
        try:
            async with asyncio.timeout(RELEASE_S_MAX):
                await self._give_away()
        except (ApiError, TimeoutError) as error:
            why = str(error) or "no answer in time"
            log.warning("lease %s could not be released, so others wait until it runs out: %s", self.name, why)

    async def _attempt(self) -> None:
        """Take or renew the lease, in the time that is left to lead, or step down."""
        began = self.now()
        limit = self.terms.renew_s if self._until is None else self._until - began
        try:
            async with asyncio.timeout(limit):
                ours = await self._write()
        except TimeoutError:
            self._trouble("no answer in time")
        except ApiError as error:
            if error.status != 409:  # somebody was faster, and the next look shows who
                self._trouble(_advice(error, self.namespace))
        else:
            self.condition = None
            if not ours:
                self._follow(f"{self.holder} holds the lease")
            elif not self._closing:
                self._lead(began + self.terms.renew_s)
        self._step_down_if_late()

    async def _write(self) -> bool:
        """Whether the lease is ours."""
        try:
            lease = await self.kube.get(LEASES, self.namespace, self.name)
        except ApiError as error:
            if error.status != 404:
                raise
            lease = None
        self._observed.look(lease, self.now())
        if self._closing or not self._observed.is_free(self.now()):
            return False
        body = claimed(lease, self.name, self.identity, self.terms, self.wall())
        if lease is None:
            written = await self.kube.create(LEASES, self.namespace, body)
        else:
            written = await self.kube.replace(LEASES, self.namespace, self.name, body)
        self._observed.look(written, self.now())
        return True

    async def _give_away(self) -> None:
        for attempt in range(1, RELEASE_TRIES_MAX + 1):
            lease = await self.kube.get(LEASES, self.namespace, self.name)
            self._observed.look(lease, self.now())
            if self.holder != self.identity:
                return
            try:
                await self.kube.replace(LEASES, self.namespace, self.name, released(lease, self.wall()))
            except ApiError as error:
                # A renewal of ours may have been under way.
                if error.status != 409 or attempt == RELEASE_TRIES_MAX:
                    raise
            else:
                return

    def _pause(self) -> float:
        if self._until is None:
            return self.terms.retry_s * (1 + self.terms.jitter * self.rng.random())
        return max(0.0, min(self.terms.retry_s, self._until - self.now()))

    def _lead(self, until: float) -> None:
        led, self._until = self._until is not None, until
        if not led:
            log.info("leading: lease %s is ours", self.name)
            self.on_change(True)

    def _follow(self, why: str) -> None:
        led, self._until = self._until is not None, None
        if led:
            log.warning("no longer leading: %s", why)
            self.on_change(False)

    def _step_down_if_late(self) -> None:
        if self._until is not None and self.now() >= self._until:
            self._follow(f"lease {self.name} could not be renewed in time")

    def _trouble(self, why: str) -> None:
        trouble = f"lease {self.namespace}/{self.name} cannot be held or watched: {why}"
        if trouble != self.condition:
            self.condition = trouble
            log.warning("%s", trouble)


def _advice(error: ApiError, namespace: str) -> str:
    if error.status == 403:
        return f"grant get, create and update on {LEASES} in namespace {namespace} ({error.message})"
    return str(error)
