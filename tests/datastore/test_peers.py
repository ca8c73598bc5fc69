"""What other replicas have in flight."""

from __future__ import annotations

from epp.datastore.peers import Peers
from tests.make import pool


def test_a_peers_ledger_replaces_what_it_said_before_and_adds_to_our_own() -> None:
    over = pool("a", "b")
    a, b = over.endpoints
    peers = Peers(over)
    over.lease(a, 10)
    peers.heard("x", {a.address: (3, 100), b.address: (1, 5), "10.9.9.9:1": (7, 7)})
    peers.heard("y", {a.address: (1, 1)})
    peers.heard("x", {a.address: (2, 50)})

    assert (a.inflight_requests, a.inflight_tokens) == (4, 61)
    assert (b.inflight_requests, b.inflight_tokens) == (0, 0)


def test_of_a_lost_peer_nothing_is_left() -> None:
    over = pool("a")
    (a,) = over.endpoints
    peers = Peers(over)
    peers.heard("x", {a.address: (3, 100)})
    over.relist([])
    peers.lost("x")
    peers.lost("x")

    assert (a.inflight_requests, a.inflight_tokens) == (0, 0)
