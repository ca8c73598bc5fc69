"""Whose turn it is: tenants by tokens, in turn or not at all; orders within a tenant; priorities before all."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from epp.domain import Usage
from epp.flow import share as share_module
from epp.flow.order import AGING
from epp.flow.queues import Queues
from epp.flow.settings import BandSettings, FlowSettings, OrderName, ShareName
from epp.flow.share import HALF_LIFE_S, TENANTS_MAX, TokenShare
from epp.flow.ticket import Ticket
from tests.flow import make
from tests.make import pool


def queues(order: OrderName = "fcfs", share: ShareName = "tokens") -> Queues:
    return Queues(FlowSettings(band=BandSettings(order=order, share=share)))


def add(into: Queues, *tickets: Ticket) -> None:
    for ticket in tickets:
        ticket.expires = ticket.expires or 1e9
        into.add(ticket, ticket.arrived)


def drain(of: Queues, count: int = 10**6, now: float = 0.0) -> list[str]:
    """The names in the order of their turns; each is charged when it goes."""
    gone = []
    while len(of) and len(gone) < count:
        band = next(b for b in of.bands if b.requests)
        ticket = min(line.next() for line in band.lines.values())[1]
        of.remove(ticket, now)
        band.share.served(band.share.tenant(ticket.request.tenant), ticket.request.prompt_tokens, now)
        gone.append(ticket.request.id)
    return gone


def test_a_higher_priority_goes_first() -> None:
    waiting = queues()
    add(waiting, *(make.ticket(str(p), priority=p, arrived=n) for n, p in enumerate((0, -5, 7, 1))))

    assert drain(waiting) == ["7", "1", "0", "-5"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [("fcfs", "abcd"), ("edf", "dcab"), ("slo-deadline", "bdac"), ("shortest", "cabd")],
)
def test_orders(order: OrderName, expected: str) -> None:
    waiting = queues(order)
    own = {"a": 0.2, "b": 0.5, "c": 0.0, "d": 9.0}
    expires = {"a": 30.0, "b": 40.0, "c": 20.0, "d": 10.0}
    slo = {"a": None, "b": 1.0, "c": None, "d": 2.0}
    for n, name in enumerate("abcd"):
        ticket = make.ticket(name, arrived=n / 10, slo_s=slo[name])
        ticket.own_s, ticket.expires = own[name], expires[name]
        add(waiting, ticket)

    assert "".join(drain(waiting)) == expected


def test_the_shortest_first_lets_a_long_one_pass_in_time() -> None:
    waiting = queues("shortest")
    long, short = make.ticket("long", arrived=0.0), make.ticket("short", arrived=10.0 / AGING)
    long.own_s, short.own_s = 10.0, 0.1
    add(waiting, long, short)

    assert drain(waiting) == ["long", "short"]


def test_tenants_share_tokens_and_not_requests() -> None:
    waiting = queues()
    add(waiting, *(make.ticket("large", tenant="large", tokens=1000, arrived=n) for n in range(50)))
    add(waiting, *(make.ticket("small", tenant="small", tokens=100, arrived=n) for n in range(500)))
    first = Counter(drain(waiting, 110))

    assert first["small"] / first["large"] == pytest.approx(10, abs=1)


def test_who_comes_late_is_not_owed_what_others_got_before() -> None:
    waiting = queues()
    add(waiting, *(make.ticket("old", tenant="old", arrived=n) for n in range(100)))
    drain(waiting, 50)
    add(waiting, *(make.ticket("new", tenant="new", arrived=n) for n in range(100)))
    next_ones = Counter(drain(waiting, 20))

    assert next_ones == {"old": 10, "new": 10}


def test_who_was_served_while_alone_is_not_made_to_wait_for_it() -> None:
    waiting = queues()
    add(waiting, *(make.ticket("old", tenant="old", arrived=n) for n in range(100)))
    drain(waiting)
    for tenant in ("old", "new"):
        add(waiting, *(make.ticket(tenant, tenant=tenant, arrived=n) for n in range(20)))

    assert Counter(drain(waiting, 10))["old"] >= 4


def test_what_an_absent_tenant_had_more_than_others_fades() -> None:
    share = TokenShare()
    for tenant in ("greedy", "modest"):
        share.waits(tenant, 100.0)
    share.served("greedy", 1000, 200.0)
    share.left("greedy", 300.0)
    share.waits("greedy", 300.0 + 2 * HALF_LIFE_S)

    assert share.rank("greedy") - share.rank("modest") == pytest.approx(250)


def test_who_comes_when_nobody_waits_is_level_with_who_was_there_last() -> None:
    share = TokenShare()
    share.waits("old", 0.0)
    share.served("old", 1000, 0.0)
    share.left("old", 0.0)
    for tenant in ("new", "old"):
        share.waits(tenant, 0.0)

    assert share.rank("new") == share.rank("old")


def test_who_was_never_heard_of_ranks_with_the_first_that_waits() -> None:
    share = TokenShare()
    for tenant in ("much", "less"):
        share.waits(tenant, 0.0)
    share.served("much", 500, 0.0)
    share.served("less", 200, 0.0)

    assert share.rank("stranger") == share.rank("less") == 200


@pytest.mark.parametrize("name", share_module.SHARES)
def test_who_waits_no_more_has_no_turn_left_over(name: ShareName) -> None:
    share = share_module.SHARES[name]()
    for tenant in ("gone", "stays", "late"):
        share.waits(tenant, 0.0)
    share.left("gone", 0.0)
    share.served("gone", 0, 0.0)  # what it had under way goes on

    assert share.rank("gone") == share.rank("stranger")


def test_tenants_take_turns_where_that_is_asked_for() -> None:
    waiting = queues(share="round-robin")
    add(waiting, *(make.ticket("x", tenant="x", tokens=10_000, arrived=n) for n in range(4)))
    add(waiting, *(make.ticket("y", tenant="y", tokens=1, arrived=n) for n in range(4)))

    assert "".join(drain(waiting)) in ("xyxyxyxy", "yxyxyxyx")


def test_tenants_do_not_count_where_that_is_asked_for() -> None:
    waiting = queues(share="global-strict")
    add(waiting, *(make.ticket(tenant, tenant=tenant, arrived=n) for n, tenant in enumerate("xxxyz")))

    assert "".join(drain(waiting)) == "xxxyz"


def test_a_share_holds_over_all_sets_of_candidates() -> None:
    waiting = queues()
    add(waiting, *(make.ticket("x", model, tenant="x", arrived=n) for n in range(10) for model in "mn"))
    add(waiting, *(make.ticket("y", "m", "n", tenant="y", arrived=n) for n in range(10)))

    assert Counter(drain(waiting, 10)) == {"x": 5, "y": 5}


@pytest.mark.parametrize("name", share_module.SHARES)
def test_a_rank_never_falls_while_its_tenant_waits(name: ShareName) -> None:
    rng, share = Random(7), share_module.SHARES[name]()
    seen: dict[str, float] = {}
    for now in range(500):
        tenant = rng.choice("wxyz")
        if tenant not in seen:
            share.waits(tenant, now)
        elif rng.random() < 0.2:
            share.left(tenant, now)
            del seen[tenant]
            continue
        else:
            share.served(tenant, rng.randrange(100), now)
        for other in [*seen, tenant]:
            assert share.rank(other) >= seen.get(other, float("-inf"))
            seen[other] = share.rank(other)


def test_as_many_tenants_as_clients_make_up_are_not_remembered() -> None:
    share = TokenShare()
    share.waits("here", 0.0)
    for n in range(2 * TENANTS_MAX):
        share.served(str(n), 1.0, float(n))

    assert len(share._accounts) == TENANTS_MAX
    assert "here" in share._accounts


def test_the_tenant_that_nothing_was_heard_of_for_longest_is_forgotten() -> None:
    share = TokenShare()
    for n in range(TENANTS_MAX):
        share.served(str(n), 100.0, 0.0)
    share.served("0", 1.0, 1.0)
    share.served("one more", 1.0, 2.0)

    assert share.rank("0") == 101.0
    assert share.rank("1") == 0.0  # as if it had never been
    assert share.rank("2") == 100.0


def test_all_that_wait_are_remembered_however_many() -> None:
    share, tenants = TokenShare(), [str(n) for n in range(TENANTS_MAX + 2)]
    for tenant in tenants:
        share.waits(tenant, 0.0)
    for n, tenant in enumerate(tenants):
        share.served(tenant, n, 0.0)
    share.served("does not wait", 1, 0.0)

    assert [share.rank(tenant) for tenant in tenants] == list(range(len(tenants)))


@pytest.mark.parametrize(
    ("answer", "more"),
    [
        pytest.param(Usage(completion=50), False, id="its answer was as much as the other's prompt"),
        pytest.param(Usage(completion=51), True, id="its answer was more than the other's prompt"),
        pytest.param(Usage(completion=60, cached=21), False, id="less what of its prompt was cached"),
        pytest.param(Usage(completion=1, cached=10_000), False, id="though never less than nothing"),
    ],
)
def test_what_was_generated_for_a_tenant_counts(answer: Usage, *, more: bool) -> None:
    """Both had a prompt of 100 tokens; then one had an answer, and the other a second prompt of 100 tokens."""
    over = pool("a", models={"a": ["m"]})
    deciding = make.control(over, settings=FlowSettings(band=BandSettings(order="fcfs", share="tokens")))
    share = deciding.queues.band(0).share
    for tenant in ("chatty", "prompter"):
        share.served(tenant, 100, 0.0)
    share.served("prompter", 100, 0.0)
    deciding.generated("chatty", 0, answer, 0.0)

    assert (share.rank("chatty") > share.rank("prompter")) is more
    assert share.rank("chatty") >= 100
