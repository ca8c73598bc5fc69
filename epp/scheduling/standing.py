"""How an endpoint does with real requests: when it is left out for a while, and how it comes back.

                 failures                      time                       time
    in good standing -----> ejected (t seconds) ----> warming up (10 s) ----> in good standing
           ^                     ^    a failure while warming up |
      a new endpoint             +-------------------------------+    t doubles, up to a cap

Must stay true: an ejection ends by time alone, so everyone comes back; what a client does (4xx, leaving) is no failure;
a failure that all endpoints share ejects no more than `HealthFilter` lets out. Points and times follow Envoy's outlier
detection (consecutive failures, error rate against the others, time that grows with each ejection), with weights: a
connection that is refused says more of an endpoint than a 500, which one request may cause wherever it goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor
from random import Random

from epp.domain import Endpoint, Fault

POINTS: dict[Fault, float] = {"connect": 2.0, "timeout": 1.0, "unavailable": 1.0, "server": 0.5, "retried": 2.0}
EJECT_POINTS = 4.0  # without an answer in between: 2 refused connections or retries, 4 times 503, 8 times 500
PROBATION_POINTS = 2.0  # what who comes back starts with, until it has answered once
MEMORY_S = 60.0  # failures further apart do not add up
RATE_HALF_LIFE_S = 10.0
RATE_REQUESTS_MIN = 10.0  # of the last moments; with fewer a rate says nothing
RATE_MIN = 0.5  # failed
RATE_ABOVE_OTHERS = 0.3
EJECT_S = 5.0
EJECT_S_MAX = 120.0
DOUBLINGS_MAX = 10
FORGIVE_S = 60.0  # in good standing, for each earlier ejection to be forgotten
JITTER = 0.2  # so that those ejected together do not come back together
SLOW_START_S = 10.0
WORDS: dict[Fault, str] = {
    "connect": "it refuses or drops connections",
    "timeout": "its answers do not come in time",
    "unavailable": "it answers 502, 503 or 504",
    "server": "it answers with 5xx",
    "retried": "the gateway had to send its requests elsewhere",
}


@dataclass(slots=True)
class Standing:
    """One endpoint's record; counts decay with `RATE_HALF_LIFE_S`, `warm_since` None: it has yet to be looked at.

    `why` is that of its last ejection, `fault` the kind of failure that came too often (None: the rate was too high).
    """

    points: float = 0.0
    failed_at: float = 0.0
    requests: float = 0.0
    failures: float = 0.0
    counted_at: float = 0.0
    ejections: int = 0
    warm_since: float | None = None
    why: str = ""
    fault: Fault | None = None

    def count(self, now: float, *, failed: bool) -> None:
        """One request more, in the rate."""
        self._decay(now)
        self.requests += 1.0
        self.failures += failed

    def recent_failures(self, now: float) -> float:
        """Of about the last ten seconds."""
        self._decay(now)
        return self.failures

    def _decay(self, now: float) -> None:
        if now > self.counted_at:
            factor = 0.5 ** ((now - self.counted_at) / RATE_HALF_LIFE_S)
            self.requests *= factor
            self.failures *= factor
            self.counted_at = now

    @property
    def rate(self) -> float:
        """Failures a request."""
        return self.failures / self.requests if self.requests else 0.0


def of(endpoint: Endpoint) -> Standing:
    """An endpoint's record, made when it is first asked for."""
    if endpoint.standing is None:
        endpoint.standing = Standing()
    found: Standing = endpoint.standing
    return found


def succeeded(endpoint: Endpoint, now: float) -> None:
    """A request was answered there."""
    standing = of(endpoint)
    standing.points = 0.0
    standing.count(now, failed=False)


@dataclass(slots=True, frozen=True)
class Ejection:
    """How long the first one lasts, and the longest."""

    first_s: float = EJECT_S
    longest_s: float = EJECT_S_MAX

    def failed(self, endpoint: Endpoint, fault: Fault, now: float, others: Iterable[Endpoint], rng: Random) -> bool:
        """A request failed there; whether that was one too many and the endpoint is ejected from now on."""
        standing = of(endpoint)
        standing.count(now, failed=True)
        if endpoint.ejected_until > now:
            return False  # it was sent before
        if now - standing.failed_at > MEMORY_S:
            standing.points = 0.0
        standing.points += POINTS[fault]
        standing.failed_at = now
        if standing.points >= EJECT_POINTS:
            standing.why, standing.fault = WORDS[fault], fault
        elif _outlier(endpoint, standing, others):
            standing.why, standing.fault = f"{standing.rate:.0%} of its requests fail", None
        else:
            return False
        self._eject(endpoint, standing, now, rng)
        return True

    def _eject(self, endpoint: Endpoint, standing: Standing, now: float, rng: Random) -> None:
        good_s = max(0.0, now - endpoint.ejected_until) if standing.ejections else 0.0
        standing.ejections = max(0, standing.ejections - int(good_s / FORGIVE_S)) + 1
        doublings = min(standing.ejections - 1, DOUBLINGS_MAX)
        length_s = min(self.first_s * 2.0**doublings, self.longest_s) * rng.uniform(1 - JITTER, 1 + JITTER)
        endpoint.ejected_until = now + length_s
        endpoint.limited = True
        standing.points, standing.failed_at = PROBATION_POINTS, endpoint.ejected_until
        standing.requests = standing.failures = 0.0
        standing.warm_since = endpoint.ejected_until


def returned(endpoint: Endpoint) -> None:
    """It can be reached again: let it warm up."""
    endpoint.limited = True
    of(endpoint).warm_since = None


def room(progress: float, mean_requests: float) -> int:
    """Requests in flight that an endpoint may have while it warms up, by the mean of those that are warm.

    One at first, as many as the others have at the end (`progress` 1).
    """
    return 1 + floor(progress * ceil(mean_requests))


def _outlier(endpoint: Endpoint, standing: Standing, others: Iterable[Endpoint]) -> bool:
    """Whether it fails much more often than the others do."""
    if standing.requests < RATE_REQUESTS_MIN or standing.rate < RATE_MIN:
        return False
    records: list[Standing] = [e.standing for e in others if e is not endpoint and e.standing is not None]
    requests = sum(record.requests for record in records)
    common = sum(record.failures for record in records) / requests if requests else 0.0
    return standing.rate >= common + RATE_ABOVE_OTHERS
