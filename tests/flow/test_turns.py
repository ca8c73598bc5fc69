"""Whose turn it is and where a place is kept, by a rule that says nothing of how long requests take."""

from __future__ import annotations

from epp.domain import Cost
from tests.flow import make
from tests.make import pool


def test_a_place_is_kept_where_the_least_is_to_be_done() -> None:
    over = pool("a", "b", models={"a": ["m"], "b": ["m"]})
    control = make.control(over, make.Slots(2))
    a, b = over.endpoints
    leases = [over.lease(a, Cost(work_s=seconds)) for seconds in (1.0, 2.0)]
    leases += [over.lease(b, Cost(work_s=seconds)) for seconds in (1.0, 0.1)]
    ticket = make.ticket()
    control.arrive(ticket, 0.0)
    leases[0].close()
    leases[2].close()

    assert control.release(0.0) == [ticket]
    assert ticket.booking is not None
    assert ticket.booking.endpoint is b


def test_short_prompts_go_before_long_ones_also_by_a_rule_that_does_not_say_what_they_take() -> None:
    over = pool("a", models={"a": ["m"]})
    control = make.control(over)
    held = over.lease(over.endpoints[0], 1)
    long, short = make.ticket("long", tokens=16_000), make.ticket("short", tokens=100, arrived=1.0)
    for ticket in (long, short):
        control.arrive(ticket, ticket.arrived)
    held.close()

    assert control.release(1.0) == [short]
