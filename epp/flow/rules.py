"""Who has room, and who may wait for it: what a rule of a gate is, and the Go picker's rules.

`SaturationRule`, `LegacyRule` and `ProbabilisticRule` are flow control on, flow control off, and the admitter plugin;
ours, the default, is `own.py`. Must stay true: a rule changes nothing, so asking it twice gives the same answer; where
a class finds no room, no lower one does.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from epp.domain import Cost, Endpoint, GateView, Reason, Refused
from epp.flow.limits import StaticLimit, UsageLimits
from epp.flow.saturation import Saturation
from epp.flow.ticket import Room, Ticket

UNBOUNDED = sys.maxsize
PRIORITIES_MAX = 64  # as many as there are bands
FRESH_S = 2.0  # for how long a sample of an engine counts
RETRY_S_MAX = 60  # nobody is told to stay away for longer, however long the line


class Rule(ABC):
    """Judges one request against the endpoints that could serve it, of which there is at least one."""

    detector: str = "onehop"

    def screen(  # noqa: B027  # most rules have nothing to say here
        self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float
    ) -> None:
        """Asked once, before anything else. Raises Refused for a request that is neither to go nor to wait."""

    @abstractmethod
    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        """The endpoints that the request may go to now; an empty list: none yet; None: any of them."""

    @abstractmethod
    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], before_s: float, now: float) -> float:
        """When a request that finds no room is to give up, with so much prefill in the queues before it.

        Raises Refused where waiting is not expected to help.
        """

    def view(
        self, ticket: Ticket, endpoints: Sequence[Endpoint], before_s: float, now: float, *, contested: bool
    ) -> GateView | None:
        """What a request that found no room was judged by, for its receipt; None where that is in no receipt."""
        return None

    def hopeless(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> bool:
        """Whether a request that waits would come too late even if it went on now."""
        return False

    def goes(self, ticket: Ticket, room: Sequence[Endpoint], now: float) -> tuple[Endpoint, Cost]:
        """Where a request that is let go will probably be sent, and what it takes there; `room` is not empty."""
        tokens = ticket.request.prompt_tokens
        there = min(room, key=lambda e: (e.outstanding_s(now), e.inflight_tokens, e.inflight_requests))
        return there, Cost(tokens, tokens, ticket.own_s)

    @abstractmethod
    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        """How full the endpoints are together, for the gauge."""

    def stale(self, endpoints: Sequence[Endpoint], now: float) -> int:
        """How many of the endpoints are judged by the ledger alone, for want of a fresh sample."""
        return sum(e.load is None or now - e.load.at > FRESH_S for e in endpoints)

    def at_once(self, endpoints: Sequence[Endpoint]) -> int:
        """How many may be let go on at one event, where the rule does not see those it has just let go."""
        return UNBOUNDED


@dataclass(slots=True)
class SaturationRule(Rule):
    """The Go picker's flow control: who goes on while the endpoints together are below a ceiling, by priority.

    Which priorities there are is learned from the requests that come, up to `PRIORITIES_MAX`.
    """

    saturation: Saturation
    limits: UsageLimits = field(default_factory=StaticLimit)
    _known: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.detector = self.saturation.type

    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        full, priority = self.saturation.of(endpoints, now), ticket.request.priority
        if len(self._known) < PRIORITIES_MAX:
            self._known.add(priority)
        return None if full < self.limits.ceiling(priority, self._known, full) else ()

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], before_s: float, now: float) -> float:
        return math.inf

    def at_once(self, endpoints: Sequence[Endpoint]) -> int:
        """One for each endpoint: samples do not show who was let go since, and all would be at once."""
        return UNBOUNDED if self.saturation.counts_ours else len(endpoints)

    def stale(self, endpoints: Sequence[Endpoint], now: float) -> int:
        return self.saturation.stale(endpoints, now)

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        return self.saturation.of(endpoints, now)


@dataclass(slots=True)
class LegacyRule(Rule):
    """The Go picker without flow control: negative priorities are refused under saturation, nobody ever waits."""

    saturation: Saturation

    def __post_init__(self) -> None:
        self.detector = self.saturation.type

    def screen(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> None:
        if ticket.request.priority < 0 and self.saturation.of(endpoints, now) >= 1.0:
            raise Refused(Reason.SHED, "system saturated, sheddable request dropped")

    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        return None

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], before_s: float, now: float) -> float:
        raise AssertionError("nobody waits by this rule")

    def stale(self, endpoints: Sequence[Endpoint], now: float) -> int:
        return self.saturation.stale(endpoints, now)

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        return self.saturation.of(endpoints, now)


@dataclass(slots=True)
class ProbabilisticRule(Rule):
    """The admitter of that name, before another rule: negative priorities are refused by chance, the likelier the
    fuller, `min(1, k * saturation ** power)`."""

    saturation: Saturation
    rng: Random
    then: Rule
    power: float = 5.0
    k: float = 300.0

    def __post_init__(self) -> None:
        if self.power <= 0 or self.k < 0:
            raise ValueError("power must be above 0 and k must not be negative")
        self.detector = self.then.detector

    def screen(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> None:
        if ticket.request.priority < 0:
            chance = min(1.0, self.k * self.saturation.of(endpoints, now) ** self.power)
            if self.rng.random() < chance:
                raise Refused(Reason.SHED, "the endpoints are getting busy, sheddable request dropped")
        self.then.screen(ticket, endpoints, now)

    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        return self.then.room(ticket, endpoints, now)

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], before_s: float, now: float) -> float:
        return self.then.until(ticket, endpoints, before_s, now)

    def at_once(self, endpoints: Sequence[Endpoint]) -> int:
        return self.then.at_once(endpoints)

    def stale(self, endpoints: Sequence[Endpoint], now: float) -> int:
        return self.then.stale(endpoints, now)

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        return self.then.fullness(endpoints, now)


def retry_after_s(wait_s: float) -> int:
    """Whole seconds for a client to stay away, at least one."""
    return max(1, min(math.ceil(wait_s), RETRY_S_MAX))
