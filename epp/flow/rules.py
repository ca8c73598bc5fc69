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
from dataclasses import dataclass
from random import Random

from epp.domain import Endpoint, Reason, Refused
from epp.flow.forecast import Forecast
from epp.flow.guard import Guard
from epp.flow.saturation import Saturation
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Room, Ticket

UNBOUNDED = sys.maxsize
RETRY_S_MAX = 60  # nobody is told to stay away for longer, however long the line
SATURATED = "the endpoints are busy; this request would have to wait for too long"


class Rule(ABC):
    """Judges one request against the endpoints that could serve it, of which there is at least one."""

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

    @abstractmethod
    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        """How full the endpoints are together, for the gauge."""

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
        slo_s = ticket.slo_s
        if slo_s is None:
            slo_s = settings.slo_ttft_s + settings.slo_own_factor * ticket.own_s
        rate = max(self.forecast.service_rate(), 1e-3)
        wait_s = self._excess_s(ticket, endpoints, now) / rate + ahead_s / (len(endpoints) * rate)
        if now - ticket.arrived + wait_s + ticket.own_s > limits.patience * slo_s:
            raise Refused(Reason.WAIT_TOO_LONG, SATURATED, retry_after_s=retry_after_s(wait_s))
        return ticket.arrived + slo_s - ticket.own_s

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

    def _excess_s(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> float:
        """Seconds of prefill by which the least busy endpoint is above what the class may fill it to."""
        if self.settings.level(ticket.request.priority) == "critical" and math.isinf(self.settings.critical.ceiling):
            least_s = min(self.forecast.backlog_s(e, now) for e in endpoints)
            return max(0.0, least_s - self.settings.critical_backlog_s)
        least = min(self.forecast.pressure(e, now) for e in endpoints)
        return max(0.0, least - self._ceiling(ticket, now)) * self.settings.pressure_s


@dataclass(slots=True)
class SaturationRule(Rule):
    """The Go picker's flow control: nobody goes on while the endpoints together are at `ceiling` or above."""

    saturation: Saturation
    ceiling: float = 1.0

    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        return None if self.saturation.of(endpoints, now) < self.ceiling else ()

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], ahead_s: float, now: float) -> float:
        return math.inf

    def at_once(self, endpoints: Sequence[Endpoint]) -> int:
        """One for each endpoint: samples do not show who was let go since, and all would be at once."""
        return UNBOUNDED if self.saturation.counts_ours else len(endpoints)

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        return self.saturation.of(endpoints, now)


@dataclass(slots=True)
class LegacyRule(Rule):
    """The Go picker without flow control: negative priorities are refused under saturation, nobody ever waits."""

    saturation: Saturation

    def screen(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> None:
        if ticket.request.priority < 0 and self.saturation.of(endpoints, now) >= 1.0:
            raise Refused(Reason.SHED, "system saturated, sheddable request dropped")

    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        return None

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], ahead_s: float, now: float) -> float:
        raise AssertionError("nobody waits by this rule")

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

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        return self.then.fullness(endpoints, now)


def retry_after_s(wait_s: float) -> int:
    """Whole seconds for a client to stay away, at least one."""
    return max(1, min(math.ceil(wait_s), RETRY_S_MAX))
