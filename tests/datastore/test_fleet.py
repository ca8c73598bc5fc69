"""Pools that share endpoints, and their union."""

from __future__ import annotations

import gc

from epp.datastore.fleet import Fleet
from epp.datastore.pool import Listed

A, B, C = (Listed(f"ns/{name}", f"10.0.0.{n}:8000") for n, name in enumerate("abc"))


def names(fleet: Fleet) -> list[str]:
    return [e.name for e in fleet.all.endpoints]


def test_an_endpoint_of_two_pools_is_one_with_one_ledger() -> None:
    fleet = Fleet()
    fleet.relist("ns/llama", [A, B])
    fleet.relist("ns/phi", [B, C])
    shared = fleet.pools["ns/phi"].endpoints[0]
    fleet.all.lease(shared, 7)

    assert shared is fleet.pools["ns/llama"].endpoints[1]
    assert names(fleet) == ["ns/a", "ns/b", "ns/c"]
    assert fleet.pools["ns/llama"].endpoints[1].inflight_tokens == 7


def test_what_one_pool_drops_another_keeps() -> None:
    fleet = Fleet()
    fleet.relist("ns/llama", [A, B])
    fleet.relist("ns/phi", [B])
    shared = fleet.pools["ns/phi"].endpoints[0]
    fleet.empty("ns/llama")

    assert fleet.all.endpoints == (shared,)
    assert fleet.pool("ns/llama").endpoints == ()


def test_of_a_pool_that_is_gone_nothing_is_left_unless_a_port_is_bound_to_it() -> None:
    fleet = Fleet()
    bound = fleet.bind("ns/bound")
    for key in ("ns/llama", "ns/bound"):
        fleet.relist(key, [A])
        fleet.empty(key)
    left = dict(fleet.pools)
    fleet.relist("ns/bound", [B])

    assert left == {"ns/bound": bound}
    assert [e.name for e in bound.endpoints] == ["ns/b"]


def test_an_endpoint_that_comes_back_while_requests_are_open_on_it_has_its_ledger_still() -> None:
    fleet = Fleet()
    fleet.relist("ns/llama", [A])
    lease = fleet.all.lease(fleet.all.endpoints[0], 5)
    fleet.relist("ns/llama", [])
    gc.collect()
    fleet.relist("ns/llama", [A])

    assert fleet.all.endpoints == (lease.endpoint,)
    assert fleet.all.endpoints[0].inflight_requests == 1


def test_who_listens_hears_of_changes_only() -> None:
    heard: list[list[str]] = []
    fleet = Fleet()
    fleet.on_change = lambda: heard.append(names(fleet))
    fleet.relist("ns/llama", [A])
    fleet.relist("ns/llama", [A])
    fleet.relist("ns/phi", [A])
    fleet.empty("ns/llama")
    fleet.empty("ns/phi")

    assert heard == [["ns/a"], []]


def test_a_pool_is_named_without_the_namespace_that_is_home() -> None:
    fleet = Fleet()
    fleet.home = "ns"

    assert [fleet.pool(key).name for key in ("ns/llama", "team-a/llama", "bare")] == ["llama", "team-a/llama", "bare"]


def test_two_pools_that_call_one_pod_and_port_differently_share_it() -> None:
    fleet = Fleet()
    fleet.relist("ns/llama", [Listed("ns/a-rank-0", "10.0.0.1:8000", pod="ns/a")])
    fleet.relist("ns/phi", [Listed("ns/a-rank-1", "10.0.0.1:8000", pod="ns/a")])

    assert fleet.pools["ns/phi"].endpoints == fleet.pools["ns/llama"].endpoints == fleet.all.endpoints


def test_room_at_an_endpoint_of_any_pool_is_told_by_whoever_wants_to_hear_of_it_now() -> None:
    fleet, told = Fleet(), []
    fleet.relist("ns/llama", [A])
    leases = [pool.lease(pool.endpoints[0], 7) for pool in (fleet.all, fleet.pools["ns/llama"])]
    fleet.on_room = lambda: told.append("room")  # set when the pools are there already
    for lease in leases:
        lease.close(0.0)

    assert told == ["room"] * 2
