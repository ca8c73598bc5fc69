"""Builders for tests of flow control: say what matters, default the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from epp.datastore.pool import Pool
from epp.domain import Endpoint, Request
from epp.flow.build import Place
from epp.flow.control import Control
from epp.flow.gate import Gate
from epp.flow.own import OwnRule
from epp.flow.rules import Rule
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Key, Room, Ticket
from epp.picking import Picking
from epp.scheduling.framework import Profile
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.reckoner import Reckoner


def ticket(
    name: str = "r",
    *models: str,
    priority: int = 0,
    tenant: str = "t",
    tokens: int = 100,
    size: int = 10,
    arrived: float = 0.0,
    subset: frozenset[str] | None = None,
    **more: Any,
) -> Ticket:
    request = Request(id=name, tenant=tenant, priority=priority, prompt_tokens=tokens, body=b"x" * size, subset=subset)
    return Ticket(request, Key(frozenset(models or ("m",)), subset), arrived, **more)


class Slots(Rule):
    """Room by counting: an endpoint takes so many requests, of any class. Simple enough to reason about in tests."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots

    def room(self, ticket: Ticket, endpoints: Sequence[Endpoint], now: float) -> Room:
        open_ = [e for e in endpoints if e.inflight_requests < self.slots]
        return None if len(open_) == len(endpoints) else open_

    def until(self, ticket: Ticket, endpoints: Sequence[Endpoint], ahead_s: float, now: float) -> float:
        return float("inf")

    def fullness(self, endpoints: Sequence[Endpoint], now: float) -> float:
        return sum(e.inflight_requests for e in endpoints) / max(1, len(endpoints) * self.slots)


def own_rule(settings: FlowSettings | None = None) -> OwnRule:
    """The product's rule, by a reckoner that has learned nothing yet."""
    return OwnRule(settings or FlowSettings(), Reckoner())


def control(over: Pool, rule: Rule | None = None, settings: FlowSettings | None = None) -> Control:
    picking = Picking(over, Profile("test", picker=MaxScorePicker()), Random(1))
    return Control(
        settings=settings or FlowSettings(),
        rule=rule or Slots(),
        ledger=over,
        eligible=picking.eligible,
    )


def place(over: Pool, now: Callable[[], float], observer: Any = None) -> Place:
    """Where a gate of `epp.flow.build` stands."""
    return Place(over, Picking(over, Profile("test", picker=MaxScorePicker()), Random(1)).eligible, now, observer)


def gate(
    over: Pool,
    now: Callable[[], float],
    rule: Rule | None = None,
    settings: FlowSettings | None = None,
    observer: Any = None,
) -> Gate:
    """A gate that is woken when room comes free."""
    made = Gate(control(over, rule, settings), now, observer)
    over.on_room = made.wake
    return made
