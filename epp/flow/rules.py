"""Who has room, and who may wait for it: the rules that a gate can be given.

`PressureRule` is ours, the default. `SaturationRule`, `LegacyRule` and `ProbabilisticRule` are the Go picker's: flow
control on, flow control off, and the admitter plugin. Must stay true: a rule changes nothing, so asking it twice gives
the same answer; where a class finds no room, no lower one does.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from epp.domain import Endpoint, Reason, Refused
from epp.flow.forecast import FRESH_S, Forecast
from epp.flow.guard import Guard
from epp.flow.limits import StaticLimit, UsageLimits
from epp.flow.saturation import Saturation
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Room, Ticket

UNBOUNDED = sys.maxsize
PRIORITIES_MAX = 64  # as many as there are bands
# Of what its class may find. With none of it a tenth of the standard class ends late at twice what engines can do, and
# so much of their work is for nobody; with all of it too many are refused (tests/flow/test_overload.py).
FOUND = 0.5
RETRY_S_MAX = 60  # nobody is told to stay away for longer, however long the line
SATURATED = "the endpoints are busy; this request would have to wait for too long"


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
    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], ahead_s: float, now: float) -> float:
        """When a request that finds no room is to give up, with so much prefill ahead of it.

        Raises Refused where waiting is not expected to help.
        """

    def hopeless(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> bool:
        """Whether a request that waits would come too late even if it went on now."""
        return False

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
class PressureRule(Rule):
    """Each class has a ceiling on the pressure of an endpoint; what may be shed has the lowest, so it goes first.

    A request that finds no room waits if its first token is predicted within `patience` of its SLO, and is refused
    with the predicted wait otherwise; one that waits gives up when its SLO cannot be kept any more.
    """

    settings: FlowSettings
    forecast: Forecast
    guard: Guard | None = None

    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        level = self.settings.level(ticket.request.priority)
        seen: Sequence[Endpoint] = [e for e in endpoints if e.reachable] or endpoints
        if level == "critical" and math.isinf(self.settings.critical.ceiling):
            backlog_s, most_s = self.forecast.backlog_s, self.settings.critical_backlog_s
            open_ = [e for e in seen if backlog_s(e, now) <= most_s]
        else:
            pressure, ceiling = self.forecast.pressure, self._ceiling(ticket, now)
            open_ = [e for e in seen if pressure(e, now) <= ceiling]
        return None if len(open_) == len(endpoints) else open_

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], ahead_s: float, now: float) -> float:
        settings = self.settings
        limits = settings.limits(settings.level(ticket.request.priority))
        slo_s = ticket.due_s
        rate = max(self.forecast.service_rate(), 1e-3)
        wait_s = self._excess_s(ticket, endpoints, now) / rate + ahead_s / (len(endpoints) * rate)
        after_s = ticket.own_s + self._found_s(ticket, now)
        if now - ticket.arrived + wait_s + after_s > limits.patience * slo_s:
            raise Refused(Reason.WAIT_TOO_LONG, SATURATED, retry_after_s=retry_after_s(wait_s))
        return ticket.arrived + slo_s - after_s

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        """The mean pressure, by the ceiling of the standard class."""
        if not endpoints:
            return 1.0
        total = sum(self.forecast.pressure(e, now) for e in endpoints)
        return total / len(endpoints) / self.settings.standard.ceiling

    def _ceiling(self, ticket: Ticket, now: float) -> float:
        level = self.settings.level(ticket.request.priority)
        ceiling = self.settings.limits(level).ceiling
        return ceiling if self.guard is None or level == "critical" else ceiling * self.guard.factor(now)

    def _found_s(self, ticket: Ticket, now: float) -> float:
        """Seconds of prefill that a request is expected to find at its endpoint when it is let go."""
        ceiling = self._ceiling(ticket, now)
        return 0.0 if math.isinf(ceiling) else FOUND * ceiling * self.settings.pressure_s

    def _excess_s(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> float:
        """Seconds of prefill by which the least busy endpoint is above what the class may fill it to."""
        if self.settings.level(ticket.request.priority) == "critical" and math.isinf(self.settings.critical.ceiling):
            least_s = min(self.forecast.backlog_s(e, now) for e in endpoints)
            return max(0.0, least_s - self.settings.critical_backlog_s)
        least = min(self.forecast.pressure(e, now) for e in endpoints)
        return max(0.0, least - self._ceiling(ticket, now)) * self.settings.pressure_s


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

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], ahead_s: float, now: float) -> float:
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

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], ahead_s: float, now: float) -> float:
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

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], ahead_s: float, now: float) -> float:
        return self.then.until(ticket, endpoints, ahead_s, now)

    def at_once(self, endpoints: Sequence[Endpoint]) -> int:
        return self.then.at_once(endpoints)

    def stale(self, endpoints: Sequence[Endpoint], now: float) -> int:
        return self.then.stale(endpoints, now)

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        return self.then.fullness(endpoints, now)


def retry_after_s(wait_s: float) -> int:
    """Whole seconds for a client to stay away, at least one."""
    return max(1, min(math.ceil(wait_s), RETRY_S_MAX))
