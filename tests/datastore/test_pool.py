"""The pool and its ledger."""

from __future__ import annotations

import pytest

from epp.datastore.objects import PoolRef, Rewrite, RewriteRule, Target
from epp.datastore.policies import Policies
from epp.datastore.pool import Listed, Pool
from epp.domain import Cost
from tests.make import pool


def test_an_endpoint_keeps_its_identity_and_ledger_across_relists() -> None:
    over = pool("a", "b")
    first = over.endpoints[0]
    lease = over.lease(first, 100)
    over.relist([Listed("c", "10.0.0.9:8000"), Listed("a", "10.0.0.0:8000", {"zone": "x"})])

    assert over.endpoints[1] is first
    assert first.labels == {"zone": "x"}
    assert first.inflight_requests == 1
    lease.close()
    assert first.inflight_requests == 0


def test_the_same_name_at_another_address_is_another_endpoint() -> None:
    over = pool("a")
    before = over.endpoints[0]
    over.relist([Listed("a", "10.0.0.7:8000")])

    assert over.endpoints[0] is not before


def test_a_lease_on_an_endpoint_that_left_is_given_back_to_it() -> None:
    over = pool("a")
    gone = over.endpoints[0]
    lease = over.lease(gone, 7)
    over.relist([])
    lease.close()

    assert (gone.inflight_requests, gone.inflight_tokens) == (0, 0)


def test_closing_twice_and_prefilling_twice_is_harmless() -> None:
    over = pool("a")
    (endpoint,) = over.endpoints
    with over.lease(endpoint, 10) as lease, over.lease(endpoint, 5):
        lease.prefilled()
        lease.prefilled()
        assert (endpoint.inflight_requests, endpoint.inflight_tokens) == (2, 5)
        lease.close()
        lease.close()
        assert (endpoint.inflight_requests, endpoint.inflight_tokens) == (1, 5)

    assert (endpoint.inflight_requests, endpoint.inflight_tokens) == (0, 0)


def test_two_endpoints_may_not_share_a_name_and_address() -> None:
    with pytest.raises(AssertionError, match="listed twice"):
        Pool().relist([Listed("a", "10.0.0.1:1"), Listed("a", "10.0.0.1:1")])


def test_models_are_the_union_with_their_bases() -> None:
    over = pool("a", "b", "c", models={"a": ["x", "y"], "b": ["y"]})
    over.endpoints[1].models = {"y": "y", "tuned": "y"}

    assert over.models() == {"x": "x", "y": "y", "tuned": "y"}


def test_clients_may_ask_for_models_and_for_names_that_a_rewrite_knows() -> None:
    over = pool("a", models={"a": ["x"]})
    rule = RewriteRule(("alias",), (Target("x", 1),))
    there = PoolRef("inference.networking.k8s.io", "p")
    over.policies = Policies(["ns/p"], rewrites=[Rewrite("ns", "r", "2026-01-01T00:00:00Z", "uid", there, (rule,))])

    assert over.names() == {"x": "x", "alias": "alias"}


def test_an_endpoint_that_is_new_is_to_warm_up() -> None:
    over = Pool()
    over.relist([Listed("a", "10.0.0.1:1")])
    over.endpoints[0].limited = False
    over.relist([Listed("a", "10.0.0.1:1"), Listed("b", "10.0.0.2:1")])

    assert [endpoint.limited for endpoint in over.endpoints] == [False, True]


def test_the_ledger_counts_the_prompts_that_are_not_computed_yet() -> None:
    over = pool("a", "b")
    first, second = over.endpoints
    leases = [over.lease(first, Cost(tokens=100, context=100, work_s=0.1)) for _ in range(3)]
    over.lease(first, Cost(tokens=0, context=50, work_s=0.0))  # nothing to compute
    assert first.work_prompts == 3

    leases[0].prefilled(1.0)
    leases[1].move(second, 2.0)
    assert (first.work_prompts, second.work_prompts) == (1, 1)

    for lease in leases:
        lease.close(3.0)
    assert (first.work_prompts, second.work_prompts) == (0, 0)
