"""OneHop's own rule, the default: who has room by what a request will meet in seconds, and when waiting is in vain.

An endpoint takes a request while its pressure is below the ceiling of the request's class. The pressure is the worst of
three: prefill waiting there, KV cache in use, and the pace of decoding against the SLO, which counts for all but
critical requests. Where critical requests are, others find half the room. Must stay true: as for every rule; and no
request goes where its first token is predicted to come too late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from epp.domain import Endpoint, Reason, Refused, Request
from epp.flow.rules import Rule, retry_after_s
from epp.flow.settings import ClassSettings, FlowSettings
from epp.flow.ticket import Room, Ticket

TOO_LATE = "the endpoints are busy; the first token would come too late"


class Reckoning(Protocol):
    """What a request meets at an endpoint. Nothing here changes any state."""

    def own_s(self, request: Request, endpoints: Sequence[Endpoint]) -> float:
        """Predicted seconds of the request's prefill where most of it is cached."""

    def isolated_s(self, request: Request) -> float:
        """Predicted seconds of its prefill where nothing is cached."""

    def backlog_s(self, endpoint: Endpoint, now: float) -> float:
        """Predicted seconds until a prompt sent now would begin to be computed."""

    def room(self, request: Request, endpoints: Sequence[Endpoint]) -> float:
        """The prompt tokens for which an endpoint must find room in its KV cache."""

    def kv_pressure(self, endpoint: Endpoint, tokens: float, now: float) -> float:
        """How full the KV cache would be with so many tokens more: 0 where it is easy, 1 where it is full."""

    def extra_s(self, request: Request, endpoints: Sequence[Endpoint]) -> Sequence[float]:
        """Seconds of prefill at each endpoint that would not be needed where most of the prompt is cached."""

    def pace_s(self, endpoint: Endpoint, now: float) -> float:
        """Seconds from token to token at an endpoint of late; 0 where it is not known."""


@dataclass(slots=True)
class OwnRule(Rule):
    """By the reckoning, and the numbers of `FlowSettings`."""

    settings: FlowSettings
    reckoning: Reckoning

    def screen(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> None:
        """Work out what the ticket takes and by when it must be through."""
        request, settings = ticket.request, self.settings
        ticket.own_s = self.reckoning.own_s(request, endpoints)
        ticket.tokens = self.reckoning.room(request, endpoints)
        slo_s = ticket.slo_s
        if slo_s is None:
            slo_s = settings.slo_ttft_s + settings.slo_own_factor * self.reckoning.isolated_s(request)
        ticket.due_s = slo_s
        limits = settings.limits(settings.level(request.priority))
        ticket.deadline = ticket.arrived + limits.patience * slo_s - settings.slo_margin_s

    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        settings = self.settings
        level = settings.level(ticket.request.priority)
        limits, critical = settings.limits(level), level == "critical"
        latest_s = ticket.deadline - now - ticket.own_s
        seen: Sequence[Endpoint] = [e for e in endpoints if e.reachable] or endpoints
        open_ = [e for e in seen if e.inflight_requests == 0 or self._fits(ticket, e, limits, critical, latest_s, now)]
        if len(open_) == len(endpoints):
            return None
        return self._worth(ticket, open_, seen, now) if open_ else open_

    def _worth(self, ticket: Ticket, open_: list[Endpoint], seen: Sequence[Endpoint], now: float) -> list[Endpoint]:
        """Those where no more is computed again than a wait as long as this one has been is worth.

        What is cached at a busy endpoint is worth a wait, but no longer than it saves us and those that come later.
        """
        extra = self.reckoning.extra_s(ticket.request, seen)
        most = (now - ticket.arrived) / self.settings.worth
        worth = {id(e) for e, more in zip(seen, extra, strict=True) if more <= most}
        return [e for e in open_ if id(e) in worth]

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], ahead_s: float, now: float) -> float:
        if self.hopeless(ticket, endpoints, now):
            wait_s = min(self.reckoning.backlog_s(e, now) for e in endpoints)
            raise Refused(Reason.WAIT_TOO_LONG, TOO_LATE, retry_after_s=retry_after_s(wait_s))
        return ticket.deadline - ticket.own_s

    def hopeless(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> bool:
        latest_s = ticket.deadline - now - ticket.own_s
        return all(self.reckoning.backlog_s(e, now) > latest_s for e in endpoints)

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        """The mean pressure, by the ceiling of the standard class."""
        if not endpoints:
            return 1.0
        pressures = [max(self._load(e, 0.0, now), self._pace(e, now)) for e in endpoints]
        return sum(pressures) / len(pressures) / self.settings.standard.ceiling

    def _fits(
        self, ticket: Ticket, e: Endpoint, limits: ClassSettings, critical: bool, latest_s: float, now: float
    ) -> bool:
        reckoning, settings = self.reckoning, self.settings
        ceiling = limits.ceiling
        if e.inflight_critical and not critical:
            ceiling *= settings.beside_critical
        backlog_s = reckoning.backlog_s(e, now)
        if backlog_s > ceiling * settings.pressure_s or backlog_s > latest_s:
            return False
        if not critical and reckoning.pace_s(e, now) > ceiling * settings.slo_tpot_s:
            return False
        return reckoning.kv_pressure(e, ticket.tokens, now) <= ceiling

    def _load(self, endpoint: Endpoint, tokens: float, now: float) -> float:
        waiting = self.reckoning.backlog_s(endpoint, now) / self.settings.pressure_s
        return max(waiting, self.reckoning.kv_pressure(endpoint, tokens, now))

    def _pace(self, endpoint: Endpoint, now: float) -> float:
        return self.reckoning.pace_s(endpoint, now) / self.settings.slo_tpot_s
