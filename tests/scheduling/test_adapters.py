"""Requests of a LoRA adapter go where it runs, then where it has room, and where all slots are taken last."""

from __future__ import annotations

import pytest

from epp.datastore.pool import Listed, Pool
from epp.domain import Candidate, Cost, Endpoint, Load, Lora
from epp.scheduling.adapters import LOAD_S, SLOT_S, adapter_of, slot_wait_s
from epp.scheduling.default import default_profile

from . import make

SERVES = {"base": "base", "a": "base", "b": "base", "c": "base"}


def endpoint(
    *, running: str = "", waiting: str = "", most: int | None = 2, ours: str = "", known: bool = True
) -> Endpoint:
    made = make.endpoint("e")
    lora = Lora(most, frozenset(running), frozenset(waiting))
    made.load = Load(make.NOW, waiting=0, running=0, kv_usage=0.1, lora=lora if known else None)
    made.models = SERVES
    made.inflight_adapters = dict.fromkeys(ours, 1)
    return made


@pytest.mark.parametrize(
    ("there", "waits_s"),
    [
        (endpoint(running="a"), 0.0),
        (endpoint(ours="a"), 0.0),  # sent a moment ago: the sample does not know yet
        (endpoint(running="b"), LOAD_S),
        (endpoint(), LOAD_S),
        (endpoint(running="bc"), SLOT_S),
        (endpoint(running="b", ours="bc"), SLOT_S),
        (endpoint(running="bc", waiting="a"), SLOT_S),
        (endpoint(running="bc", ours="d"), 2 * SLOT_S),
        (endpoint(running="bc", most=None), LOAD_S),
        (endpoint(known=False), LOAD_S),
        (endpoint(known=False, ours="a"), 0.0),
    ],
)
def test_what_an_adapter_waits(there: Endpoint, waits_s: float) -> None:
    assert slot_wait_s("a", there) == waits_s


def test_an_adapter_is_a_model_with_another_as_its_base() -> None:
    unknown, knows = make.endpoints(2)
    knows.models = SERVES

    assert adapter_of("a", (unknown, knows)) == "a"
    assert adapter_of("base", (unknown, knows)) is None
    assert adapter_of("z", (unknown, knows)) is None
    assert adapter_of(None, (unknown, knows)) is None


def test_requests_of_few_adapters_share_slots_and_leave_none_behind() -> None:
    """Sixteen at once, of four adapters, on two replicas with two slots each: no replica gets a third adapter."""
    pool = Pool()
    pool.relist(Listed(f"e{n}", f"10.0.0.{n}:80") for n in range(2))
    for each in pool.endpoints:
        each.models = dict.fromkeys("abcd", "base")
        each.load = Load(make.NOW, waiting=0, running=0, kv_usage=0.1, lora=Lora(2))
    profile, leases = default_profile(), []
    for number in range(16):
        query = make.query(f"{number} question".encode() * 20, seed=number)
        query.candidate = Candidate("abcd"[number % 4])
        pick = profile.run(query, pool.endpoints)
        assert pick is not None
        profile.picked(query, pick.endpoint)
        assert query.cost is not None
        leases.append(pool.lease(pick.endpoint, query.cost, now=make.NOW))

    assert sorted(len(e.inflight_adapters) for e in pool.endpoints) == [2, 2]
    assert sum(sum(e.inflight_adapters.values()) for e in pool.endpoints) == 16
    for lease in leases:
        lease.close(make.NOW)
    assert [e.inflight_adapters for e in pool.endpoints] == [{}, {}]


def test_the_ledger_follows_a_request_that_moved() -> None:
    pool = Pool()
    pool.relist(Listed(f"e{n}", f"10.0.0.{n}:80") for n in range(2))
    first, second = pool.endpoints
    lease = pool.lease(first, Cost(adapter="a"))
    lease.move(second, 1.0)

    assert (first.inflight_adapters, second.inflight_adapters) == ({}, {"a": 1})
