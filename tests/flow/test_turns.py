"""Whose turn it is, what is before whom, and where a place is kept."""

from __future__ import annotations

from typing import Any

import pytest

from epp.domain import Cost, Reason, Refused
from epp.flow.queues import Queues
from epp.flow.settings import BandSettings, FlowSettings
from epp.flow.ticket import Key, Ticket
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


def waiting(name: str, *models: str, own_s: float, **more: Any) -> Ticket:
    made = make.ticket(name, *models, **more)
    made.own_s, made.expires = own_s, 1e9
    return made


@pytest.mark.parametrize(
    ("new", "before_s"),
    [
        (waiting("new", "m", own_s=0.5), 0.1 + 4.0),
        (waiting("new", "m", own_s=2.0), 0.1 + 1.0 + 4.0),
        (waiting("new", "m", own_s=2.0, tenant="modest"), 4.0),
        (waiting("new", "m", own_s=2.0, priority=-1), 0.1 + 1.0 + 3.0 + 4.0 + 0.2),
        (waiting("new", "m", own_s=2.0, priority=1), 0.0),
        (waiting("new", "n", own_s=9.0), 20.0),
        (waiting("new", "m", "n", own_s=9.0), 0.1 + 1.0 + 3.0 + 4.0 + 10.0 + 20.0),
    ],
    ids=["short", "longer", "another tenant", "lower", "higher, and short", "another model", "either"],
)
def test_before_a_request_is_what_goes_first_for_sure(new: Ticket, before_s: float) -> None:
    """Of its own tenant what is shorter, of higher priorities all, if it can go nowhere else."""
    queues = Queues(FlowSettings())
    for own_s in (0.1, 1.0, 3.0):
        queues.add(waiting("same", "m", own_s=own_s), 0.0)
    queues.add(waiting("other tenant", "m", own_s=0.2, tenant="other"), 0.0)
    queues.add(waiting("higher", "m", own_s=4.0, priority=1), 0.0)
    queues.add(waiting("either model", "m", "n", own_s=10.0, priority=1), 0.0)
    queues.add(waiting("other model", "n", own_s=20.0, priority=1), 0.0)
    queues.add(waiting("lower", "m", own_s=0.1, priority=-5), 0.0)

    assert queues.before_s(new) == pytest.approx(before_s)


def test_what_waits_no_more_is_before_nobody() -> None:
    queues = Queues(FlowSettings())
    long, short = waiting("long", "m", own_s=3.0), waiting("short", "m", own_s=0.5)
    for ticket in (long, short):
        queues.add(ticket, 0.0)
    before = queues.ahead_s(waiting("new", "m", own_s=9.0))
    queues.remove(long, 0.0)

    assert (before, queues.ahead_s(waiting("new", "m", own_s=9.0))) == (3.5, 0.5)


def test_a_tenant_whose_last_request_is_gone_waits_no_more() -> None:
    queues = Queues(FlowSettings())
    tickets = [waiting(name, "m", own_s=1.0) for name in ("first", "second")]
    seen = []
    for ticket in tickets:
        queues.add(ticket, 0.0)
    for ticket in tickets:
        seen.append(queues.band(0).tenants())
        queues.remove(ticket, 0.0)

    assert seen == [{"t": 2}, {"t": 1}]
    assert queues.band(0).tenants() == {}


def test_the_last_place_of_a_band_is_a_place() -> None:
    queues = Queues(FlowSettings(band=BandSettings(requests_max=2)))
    queues.add(waiting("first", "m", own_s=1.0), 0.0)
    last = waiting("last", "m", own_s=1.0)
    room = queues.has_room(last)
    queues.add(last, 0.0)

    assert room
    assert not queues.has_room(waiting("one more", "m", own_s=1.0))


def test_a_band_in_which_nothing_waits_is_remembered_for_what_its_tenants_had() -> None:
    queues = Queues(FlowSettings())
    idle = queues.band(1)
    queues.band(0)

    assert queues.band(1) is idle


def test_who_asks_again_keeps_its_turn_among_tenants() -> None:
    queues = Queues(FlowSettings(band=BandSettings(share="round-robin")))
    for name, tenant in (("first", "a"), ("second", "b"), ("third", "a")):
        queues.add(waiting(name, "m", own_s=1.0, tenant=tenant), 0.0)
    (line,) = queues.band(0).lines.values()

    assert line.next()[1].request.id == "first"


@pytest.mark.parametrize(
    ("one", "other", "within"),
    [
        (Key(frozenset("m")), Key(frozenset("mn")), True),
        (Key(frozenset("mn")), Key(frozenset("m")), False),
        (Key(frozenset("m")), Key(frozenset({None})), True),
        (Key(frozenset({None})), Key(frozenset("m")), False),
        (Key(frozenset("m"), frozenset("a")), Key(frozenset("m")), True),
        (Key(frozenset("m")), Key(frozenset("m"), frozenset("a")), False),
        (Key(frozenset("m"), frozenset("a")), Key(frozenset("m"), frozenset("a")), True),
    ],
)
def test_what_accepts_less_is_within_what_accepts_more(one: Key, other: Key, within: bool) -> None:
    assert one.within(other) is within


def test_who_comes_behind_a_line_that_is_too_long_is_refused_at_once_and_a_short_one_or_another_tenant_waits() -> None:
    over = pool("a", models={"a": ["m"]})
    control = make.control(over, make.own_rule())
    over.lease(over.endpoints[0], Cost(work_s=1.0))
    line = [make.ticket(str(n), tokens=20_000) for n in range(3)]  # of 0.7 s, to be there within 3.2 s
    for ticket in line:
        control.arrive(ticket, 0.0)
    short, modest = make.ticket("short", tokens=100), make.ticket("modest", tokens=20_100, tenant="modest")
    for ticket in (short, modest):
        control.arrive(ticket, 0.0)
    with pytest.raises(Refused) as refused:
        control.arrive(make.ticket("late", tokens=20_100), 0.0)

    assert all(ticket.waits for ticket in (*line, short, modest))
    assert refused.value.reason is Reason.WAIT_TOO_LONG
    assert refused.value.retry_after_s == 4  # a second there, and those before it, in whole seconds


def test_who_finds_room_behind_others_that_wait_is_not_kept_beyond_its_slo() -> None:
    over = pool("a", models={"a": ["m"]})
    control = make.control(over, make.own_rule())
    busy = over.lease(over.endpoints[0], Cost(work_s=1.0))
    for n in range(3):
        control.arrive(make.ticket(str(n), tokens=20_000), 0.0)
    busy.close()
    ticket = make.ticket("late", tokens=20_100)
    control.arrive(ticket, 0.0)

    assert ticket.waits
    assert ticket.expires == pytest.approx(ticket.deadline - ticket.own_s)
