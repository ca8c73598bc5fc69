"""OneHop's own rule: who has room, what changes beside critical requests, what is worth a wait, and what is in vain."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from epp.datastore.pool import Listed, Pool
from epp.domain import Candidate, Cost, Endpoint, Load, Refused, Request
from epp.flow.own import OwnRule
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Key, Ticket
from epp.scheduling.default import default_profile, reckoner_of
from epp.scheduling.framework import Query

NOW = 100.0
LONG = Random(3).randbytes(80_000)


def asked(prompt: bytes) -> Query:
    request = Request("r", model="m", prompt=prompt, prompt_tokens=len(prompt) // 4)
    return Query(request, Candidate("m"), NOW, Random(1))


class Site:
    """Some endpoints of a pool, the default profile over them, and the rule."""

    def __init__(self, count: int = 3, **settings: Any) -> None:
        self.pool = Pool()
        self.pool.relist(Listed(f"e{n}", f"10.0.0.{n}:80") for n in range(count))
        self.profile = default_profile()
        reckoner = reckoner_of(self.profile)
        assert reckoner is not None
        self.rule = OwnRule(FlowSettings(**settings), reckoner)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        return self.pool.endpoints

    def busy(self, place: int, work_s: float, *, critical: bool = False, **load: Any) -> None:
        """So many seconds of prefill wait there, from now on."""
        endpoint = self.endpoints[place]
        self.pool.lease(endpoint, Cost(work_s=work_s, critical=critical), now=NOW)
        if load:
            endpoint.load = Load(at=NOW, **load)

    def ticket(self, priority: int = 0, prompt: bytes = b"x" * 400, arrived: float = NOW) -> Ticket:
        request = Request("r", model="m", prompt=prompt, prompt_tokens=len(prompt) // 4, priority=priority)
        made = Ticket(request, Key(frozenset({"m"})), arrived)
        self.rule.screen(made, self.endpoints, NOW)
        return made

    def room(self, ticket: Ticket) -> list[str]:
        found = self.rule.room(ticket, self.endpoints, NOW)
        return [e.name for e in (self.endpoints if found is None else found)]

    def sent(self, prompt: bytes, place: int) -> None:
        """The endpoint was sent this prompt before."""
        query = Query(
            Request("r", model="m", prompt=prompt, prompt_tokens=len(prompt) // 4), Candidate("m"), NOW, Random(1)
        )
        self.profile.run(query, self.endpoints)
        self.profile.picked(query, self.endpoints[place])


@pytest.mark.parametrize(("priority", "takes"), [(1, ["e0", "e1", "e2"]), (0, ["e0", "e1"]), (-1, ["e0"])])
def test_a_lower_class_finds_room_at_fewer_endpoints(priority: int, takes: list[str]) -> None:
    site = Site()
    for place, work_s in enumerate((0.2, 0.6, 0.9)):
        site.busy(place, work_s)

    assert site.room(site.ticket(priority)) == takes


def test_beside_critical_requests_others_find_half_the_room() -> None:
    site = Site(2)
    site.busy(0, 0.6, critical=True)
    site.busy(1, 0.6)

    assert site.room(site.ticket(0)) == ["e1"]
    assert site.room(site.ticket(1)) == ["e0", "e1"]


@pytest.mark.parametrize(
    "load",
    [
        {"kv_usage": 0.995, "num_blocks": 1000, "block_size": 16},
        {"waiting": 200.0},
    ],
)
def test_a_full_cache_or_a_queue_in_the_engine_is_no_room(load: dict[str, Any]) -> None:
    site = Site(2)
    site.busy(0, 0.1, **load)
    site.busy(1, 0.1)

    assert site.room(site.ticket()) == ["e1"]


def test_a_slow_pace_holds_back_all_but_critical_requests() -> None:
    site = Site(1)
    for second in range(3):
        site.endpoints[0].load = Load(at=NOW - 2 + second, decode_seconds=20.0 * second, decode_tokens=100.0 * second)
        site.rule.reckoning.meets(site.endpoints, 0.0, NOW)
    site.busy(0, 0.1)

    assert site.room(site.ticket(0)) == []
    assert site.room(site.ticket(1)) == ["e0"]


def test_an_idle_endpoint_always_has_room() -> None:
    site = Site(1)
    site.endpoints[0].load = Load(at=NOW, kv_usage=1.0)

    assert site.room(site.ticket(-1)) == ["e0"]


def test_what_is_cached_at_a_busy_endpoint_is_worth_a_wait_as_long_as_it_saves() -> None:
    site = Site(2)
    site.sent(LONG, 0)
    site.busy(0, 0.9)
    site.busy(1, 0.1)

    assert site.room(site.ticket(0, LONG)) == []
    assert site.room(site.ticket(0, LONG, arrived=NOW - 1.0)) == ["e1"]
    assert site.room(site.ticket(0, LONG[::-1])) == ["e1"]


def test_an_alias_waits_for_what_the_model_meant_has_cached() -> None:
    site = Site(2)
    site.sent(LONG, 0)
    site.busy(0, 0.9)
    site.busy(1, 0.1)
    request = Request("r", model="auto", prompt=LONG, prompt_tokens=len(LONG) // 4, target="m")
    ticket = Ticket(request, Key(frozenset({"m"})), NOW)
    site.rule.screen(ticket, site.endpoints, NOW)

    assert site.room(ticket) == []


def test_nobody_is_sent_where_the_first_token_would_come_too_late() -> None:
    site = Site(1)
    site.busy(0, 0.7)
    fresh, late = site.ticket(), site.ticket(arrived=NOW - 1.5)

    assert site.room(fresh) == ["e0"]
    assert site.room(late) == []
    assert site.rule.hopeless(late, site.endpoints, NOW)
    with pytest.raises(Refused, match="too late") as refused:
        site.rule.until(late, site.endpoints, 0.0, NOW)
    assert refused.value.retry_after_s is not None


def test_a_slow_engine_has_a_longer_slo_by_its_own_prefill() -> None:
    fast, slow = Site(1), Site(1)
    for number in range(200):
        query = Query(
            Request("r", model="m", prompt=LONG, prompt_tokens=20_000 + number), Candidate("m"), NOW, Random(1)
        )
        slow.profile.run(query, slow.endpoints)
        slow.profile.picked(query, slow.endpoints[0])
        slow.profile.answered(query, slow.endpoints[0], 5.0)
    prompt = LONG[::-1]

    assert slow.ticket(prompt=prompt).due_s > 2 * fast.ticket(prompt=prompt).due_s
