"""How long to leave a model server alone before its numbers are read again.

Must stay true: an endpoint that has work is read at the configured interval, however idle it was; one whose numbers
stand still is read less often, and never so rarely that its sample is stale before the next; no server spends more than
`SHARE_MAX` of its time on our questions, and one that fails is not asked faster than one that answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from epp.domain import Endpoint, Load

IDLE_S_MAX = 1.5  # scorers stop believing a sample after 2 s
GROWTH = 1.5  # of the pause of an idle endpoint, from visit to visit
SHARE_MAX = 0.1  # an engine that needs 100 ms for its numbers is asked once a second
SLOW_S_MAX = 5.0
SMOOTHING = 0.3  # of what an answer takes: one late answer is no slow server
BACKOFF_S_MAX = 2.0
JITTER = 0.1  # so that endpoints drift apart
DOUBLINGS_MAX = 16


@dataclass(slots=True, frozen=True)
class Rest:
    """Seconds until the next visit: so many whatever happens, and up to so many while nothing does."""

    least_s: float
    idle_s: float


@dataclass(slots=True)
class Cadence:
    """The course of one endpoint's visits."""

    visits: int = 0
    failures: int = 0
    took_s: float = 0.0
    still: int = 0

    def visited(self, before: Load | None, after: Load | None, took_s: float, *, busy: bool, learned: bool) -> None:
        """One visit is over: what was known before and is now, how long the answer took, whether the endpoint has work.

        Without anything `learned` it failed.
        """
        self.visits += 1
        self.failures = 0 if learned else self.failures + 1
        self.took_s += SMOOTHING * (took_s - self.took_s)
        self.still = 0 if busy or not learned or moves(before, after) else self.still + 1

    def rest(self, interval_s: float, rng: Random) -> Rest:
        """Until the next one. All first visits of a pool come together; from there on they are spread."""
        if self.visits <= 1:
            first_s = rng.uniform(0.0, interval_s)
            return Rest(first_s, first_s)
        slow_s = min(self.took_s * (1 / SHARE_MAX - 1), SLOW_S_MAX)
        jitter = rng.uniform(1 - JITTER, 1 + JITTER)
        if self.failures:
            doublings = min(self.failures - 1, DOUBLINGS_MAX)
            again_s = max(min(interval_s * 2.0**doublings, max(interval_s, BACKOFF_S_MAX)), slow_s) * jitter
            return Rest(again_s, again_s)
        least_s = max(interval_s, slow_s)
        idle_s = max(least_s, min(interval_s * GROWTH ** min(self.still, DOUBLINGS_MAX), IDLE_S_MAX))
        return Rest(least_s * jitter, idle_s * jitter)


def busy(endpoint: Endpoint) -> bool:
    """Whether it has work, ours or anyone's, as far as is known."""
    load = endpoint.load
    return endpoint.inflight_requests > 0 or (load is not None and bool(load.waiting or load.running))


def moves(before: Load | None, after: Load | None) -> bool:
    """Whether anything has happened between two samples."""
    if before is None or after is None:
        return before is not after
    return _numbers(before) != _numbers(after)


def _numbers(load: Load) -> tuple[object, ...]:
    """All that changes with work; an idle engine's numbers stand still."""
    return (load.waiting, load.running, load.kv_usage, load.prompt_tokens, load.generated_tokens, load.lora)
