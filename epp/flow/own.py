"""OneHop's own rule, the default: who has room by what a request will meet in seconds, and when waiting is in vain.

An endpoint takes a request while its pressure is below the ceiling of the request's class. The pressure is the worst of
three: prefill waiting there, KV cache in use, and the pace of decoding against the SLO, which counts for all but
critical requests. Where critical requests are, others find half the room. Must stay true: as for every rule; and no
request goes where its first token is predicted to come too late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from epp.domain import Cost, Endpoint, GateView, Reason, Refused, Request
from epp.flow.rules import Rule, retry_after_s
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Room, Ticket

VIEWED_MAX = 100  # endpoints, in a receipt
NOTHING: Mapping[Endpoint, int] = {}
TOO_LATE = "the endpoints are busy; the first token would come too late"


class Wants(Protocol):
    """What a request takes, wherever it goes."""

    @property
    def own_s(self) -> float:
        """Predicted seconds of its prefill where most of it is cached."""

    @property
    def alone_s(self) -> float:
        """Predicted seconds of its prefill where nothing is cached."""

    @property
    def tokens(self) -> float:
        """The prompt tokens for which an endpoint must find room in its KV cache, but for those `cached` there."""

    @property
    def cached(self) -> Mapping[Endpoint, int]:
        """By endpoint, prompt tokens that it holds."""

    @property
    def extra(self) -> Mapping[Endpoint, float] | None:
        """By endpoint, seconds of prefill more than where most is cached; None: it is the same everywhere."""

    @property
    def extra_elsewhere(self) -> float:
        """The same, of all other endpoints."""


class Reckoning(Protocol):
    """What a request meets at an endpoint. Nothing here changes any state."""

    def wants(self, request: Request, endpoints: Sequence[Endpoint]) -> Wants:
        """What the request takes."""

    def meets(
        self,
        endpoints: Sequence[Endpoint],
        tokens: float,
        now: float,
        cached: Mapping[Endpoint, int] = NOTHING,
    ) -> Sequence[tuple[float, float, float]]:
        """At each endpoint: seconds until a prompt sent now would begin to be computed; how full the KV cache would be
        with so many tokens more, of which `cached` there are none, 0 where it is easy and 1 where it is full; seconds
        from token to token of late, 0 where they are not known."""

    def goes(self, request: Request, endpoints: Sequence[Endpoint], now: float) -> tuple[Endpoint, Cost]:
        """Where among these the request costs least, and what it takes there."""

    def calm(self, endpoints: Sequence[Endpoint], tokens: float, now: float, most: tuple[float, float, float]) -> bool:
        """Whether every endpoint can be reached and has nothing in flight, or no more to meet than `most` of each."""


@dataclass(slots=True)
class OwnRule(Rule):
    """By the reckoning, and the numbers of `FlowSettings`."""

    settings: FlowSettings
    reckoning: Reckoning

    def screen(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> None:
        """Work out what the ticket takes and by when it must be through."""
        request, settings = ticket.request, self.settings
        wants = ticket.wants = self.reckoning.wants(request, endpoints)
        ticket.own_s = wants.own_s
        ticket.due_s = settings.due_s(ticket.slo_s, wants.alone_s)
        limits = settings.limits(settings.level(request.priority))
        ticket.deadline = ticket.arrived + limits.patience * ticket.due_s - settings.slo_margin_s

    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        settings = self.settings
        level = settings.level(ticket.request.priority)
        critical, ceiling = level == "critical", settings.limits(level).ceiling
        beside = ceiling if critical else ceiling * settings.beside_critical
        latest_s = ticket.deadline - now - ticket.own_s
        pressure_s, tpot_s = settings.pressure_s, settings.slo_tpot_s
        easy = self._easy(ticket.own_s)
        wants: Wants = ticket.wants
        tokens, cached = wants.tokens, wants.cached
        least = min(beside, ceiling)
        pace_s = inf if critical else max(least, easy) * tpot_s
        if self.reckoning.calm(endpoints, tokens, now, (min(least * pressure_s, latest_s), least, pace_s)):
            return None  # as nearly always: whatever else is asked below, everybody takes it
        seen: Sequence[Endpoint] = [e for e in endpoints if e.reachable] or endpoints
        open_ = []
        meets = self.reckoning.meets(seen, tokens, now, cached)
        for e, (waits_s, full, pace_s) in zip(seen, meets, strict=True):
            most = beside if e.inflight_critical else ceiling
            if e.inflight_requests == 0 or (
                waits_s <= most * pressure_s
                and waits_s <= latest_s
                and full <= most
                and (critical or pace_s <= max(most, easy) * tpot_s)
            ):
                open_.append(e)
        if len(open_) == len(endpoints):
            return None
        scarce = min(full for _, full, _ in meets) > settings.scarce
        return self._worth(ticket, open_, now, settings.worth_scarce if scarce else settings.worth)

    def _easy(self, own_s: float) -> float:
        """The part of the SLO up to which the pace is no pressure for a request with so much prefill of its own."""
        return self.settings.pace_easy * max(0.0, 1.0 - own_s / self.settings.pace_own_s)

    def _worth(self, ticket: Ticket, open_: list[Endpoint], now: float, worth: float) -> list[Endpoint]:
        """Those where no more is computed again than a wait as long as this one has been is worth.

        What is cached at a busy endpoint is worth a wait, but no longer than it saves us and those that come later: a
        second is worth `worth` seconds.
        """
        wants: Wants = ticket.wants
        extra, elsewhere = wants.extra, wants.extra_elsewhere
        if extra is None:
            return open_
        if any(not extra.get(e, elsewhere) for e in open_):
            return open_
        most = (now - ticket.arrived) / worth
        return [e for e in open_ if extra.get(e, elsewhere) <= most]

    def goes(self, ticket: Ticket, room: Sequence[Endpoint], now: float) -> tuple[Endpoint, Cost]:
        return self.reckoning.goes(ticket.request, room, now)

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], before_s: float, now: float) -> float:
        wait_s = min(waits_s for waits_s, _, _ in self.reckoning.meets(endpoints, 0.0, now))
        wait_s += before_s / len(endpoints)
        if wait_s > ticket.deadline - now - ticket.own_s:
            raise Refused(Reason.WAIT_TOO_LONG, TOO_LATE, retry_after_s=retry_after_s(wait_s))
        return ticket.deadline - ticket.own_s

    def view(
        self, ticket: Ticket, endpoints: Sequence[Endpoint], before_s: float, now: float, *, contested: bool
    ) -> GateView:
        seen = [e for e in endpoints if e.reachable][:VIEWED_MAX] or endpoints[:VIEWED_MAX]
        wants: Wants = ticket.wants
        return GateView(
            own_s=ticket.own_s,
            alone_s=wants.alone_s,
            before_s=before_s,
            contested=contested,
            addresses=[e.address for e in seen],
            meets=self.reckoning.meets(seen, wants.tokens, now, wants.cached),
            requests=[e.inflight_requests for e in seen],
            critical=[e.inflight_critical for e in seen],
        )

    def hopeless(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> bool:
        latest_s = ticket.deadline - now - ticket.own_s
        return all(waits_s > latest_s for waits_s, _, _ in self.reckoning.meets(endpoints, 0.0, now))

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        """The mean pressure, by the ceiling of the standard class."""
        if not endpoints:
            return 1.0
        settings = self.settings
        easy_s = self._easy(0.0) * settings.slo_tpot_s
        worst = [
            max(waits_s / settings.pressure_s, full, pace_s / settings.slo_tpot_s if pace_s > easy_s else 0.0)
            for waits_s, full, pace_s in self.reckoning.meets(endpoints, 0.0, now)
        ]
        return sum(worst) / len(worst) / settings.standard.ceiling
