"""Who of a tenant's waiting requests is next: the one of the least rank, which a request keeps while it waits."""

from __future__ import annotations

import math
from collections.abc import Callable

from epp.flow.settings import OrderName
from epp.flow.ticket import Ticket

AGING = 0.05  # a second waited makes up for so many seconds of own work, so that long prompts do not starve


def _arrival(ticket: Ticket) -> float:
    return ticket.arrived


def _expiry(ticket: Ticket) -> float:
    return ticket.expires


def _slo(ticket: Ticket) -> float:
    """Those that name no SLO come after all that do."""
    return math.inf if ticket.slo_s is None else ticket.arrived + ticket.slo_s


def _work(ticket: Ticket) -> float:
    """Short first: `own - AGING * waited`, less what is the same for all."""
    return ticket.own_s + AGING * ticket.arrived


ORDERS: dict[OrderName, Callable[[Ticket], float]] = {
    "fcfs": _arrival,
    "edf": _expiry,
    "slo-deadline": _slo,
    "shortest": _work,
}
