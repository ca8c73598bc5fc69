"""Leave out endpoints that fail real requests, and let new and returned ones warm up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from epp.domain import Endpoint, Fault
from epp.plugin import Stage
from epp.scheduling import standing
from epp.scheduling.framework import Answer, Filter, Query


@dataclass(slots=True)
class HealthFilter(Filter):
    """Keeps endpoints in good standing (`standing.py`), and those that warm up while they have room.

    Where more than `ejected_share_max` of the endpoints of a decision would be left out, none is: then those with the
    fewest requests in flight, failures of the last moments counted as such, since one that fails at once never has any.
    An endpoint that warms up (`slow_start_seconds`) may have one request in flight at first and as many as the mean of
    the warm ones at the end; where none is warm, or all have had their share, nobody is held back. `on_eject` hears of
    ejections, with the kind of failure (None: their rate) and in words.
    """

    type: ClassVar[str] = "health-filter"
    stage: ClassVar[Stage] = "ours"
    eject_seconds: float = standing.EJECT_S
    eject_seconds_max: float = standing.EJECT_S_MAX
    ejected_share_max: float = 0.5
    slow_start_seconds: float = standing.SLOW_START_S
    on_eject: Callable[[Endpoint, Fault | None, str], None] = field(init=False, repr=False, compare=False)
    _ejection: standing.Ejection = field(init=False, repr=False, compare=False)
    _listed: Sequence[Endpoint] = field(init=False, default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.eject_seconds > 0:
            raise ValueError("eject_seconds must be above 0")
        if not self.eject_seconds_max >= self.eject_seconds:
            raise ValueError("eject_seconds_max must be at least eject_seconds")
        if not 0.0 <= self.ejected_share_max < 1.0:
            raise ValueError("ejected_share_max must be from 0 to below 1")
        if not self.slow_start_seconds >= 0:
            raise ValueError("slow_start_seconds must not be negative")
        self.on_eject = _unheard
        self._ejection = standing.Ejection(self.eject_seconds, self.eject_seconds_max)

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """Those that may go on; never none of them."""
        for endpoint in endpoints:
            if endpoint.limited:
                return self._keep(query.now, endpoints)
        return endpoints if isinstance(endpoints, tuple) else list(endpoints)

    def why(self, query: Query, endpoint: Endpoint) -> str:
        """Ejected, warming up, or busier than others while too many are ejected."""
        if endpoint.ejected_until > query.now:
            return f"{self.type}: ejected, {standing.of(endpoint).why}"
        return f"{self.type}: warming up" if endpoint.limited else f"{self.type}: too many fail, others are less busy"

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """The gateway had to go elsewhere: the endpoint picked failed the request, and so did those tried after it."""
        for endpoint in (picked, *query.passed):
            self._failed(query, endpoint, "retried", query.now)

    def ended(self, query: Query, endpoint: Endpoint, answer: Answer) -> None:
        """A whole answer is a success, one that the server or its connection failed to give is a failure."""
        now = query.now + answer.seconds
        if answer.fault is not None:
            self._failed(query, endpoint, answer.fault, now)
        elif answer.whole and answer.status is not None and answer.status < 400:
            standing.succeeded(endpoint, now)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """The others, whose failures are compared with one's own."""
        self._listed = endpoints

    def _failed(self, query: Query, endpoint: Endpoint, fault: Fault, now: float) -> None:
        if self._ejection.failed(endpoint, fault, now, self._listed, query.rng):
            record = standing.of(endpoint)
            self.on_eject(endpoint, record.fault, record.why)

    def _keep(self, now: float, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        left = [e for e in endpoints if e.ejected_until <= now]
        if len(endpoints) - len(left) > self.ejected_share_max * len(endpoints):
            busy = [e.inflight_requests + round(standing.of(e).recent_failures(now)) for e in endpoints]
            return [e for e, count in zip(endpoints, busy, strict=True) if count == min(busy)]
        for endpoint in left:
            if endpoint.limited:
                self._warm(endpoint, now)
        warm = [e for e in left if not e.limited]
        if not warm or len(warm) == len(left):
            return left
        mean = sum(e.inflight_requests for e in warm) / len(warm)
        return [e for e in left if not e.limited or e.inflight_requests < standing.room(self._progress(e, now), mean)]

    def _warm(self, endpoint: Endpoint, now: float) -> None:
        """An endpoint that is seen for the first time begins to warm up; one that has is limited no more."""
        record = standing.of(endpoint)
        if record.warm_since is None:
            record.warm_since = now
        if self._progress(endpoint, now) >= 1.0:
            endpoint.limited = False

    def _progress(self, endpoint: Endpoint, now: float) -> float:
        since = standing.of(endpoint).warm_since
        if since is None or not self.slow_start_seconds:
            return 1.0
        return (now - since) / self.slow_start_seconds


def _unheard(endpoint: Endpoint, fault: Fault | None, why: str) -> None:
    """Nobody listens."""
