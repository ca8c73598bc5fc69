"""What other replicas of us have in flight, as far as they have told: the ledger's door for what we did not send.

Nobody calls it yet: replicas exchange nothing, each has its own view. Whoever brings the exchange feeds `heard` with a
peer's whole ledger now and then, and `lost` when the peer falls silent; prefixes of others go into
`PrefixIndex.insert`, whose hashes are the same in every process. Must stay true: a peer's share of an endpoint's
`inflight_*` is what it said last, and nothing once it is lost; an endpoint that left takes its shares along.
"""

from __future__ import annotations

from collections.abc import Mapping

from epp.datastore.pool import Lease, Pool
from epp.domain import Endpoint

Said = Mapping[str, tuple[int, int]]  # address of an endpoint -> requests, prompt tokens not yet answered


class Peers:
    """Charges the endpoints of `pool` with what peers say they sent there."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._shares: dict[str, list[Lease]] = {}

    def heard(self, peer: str, said: Said) -> None:
        """The peer's ledger as it is now; what it said before counts no more."""
        self.lost(peer)
        by_address: dict[str, Endpoint] = {e.address: e for e in self._pool.endpoints}
        self._shares[peer] = [
            self._pool.lease(by_address[address], tokens, requests)
            for address, (requests, tokens) in said.items()
            if address in by_address
        ]

    def lost(self, peer: str) -> None:
        """The peer is gone, or silent for too long."""
        for share in self._shares.pop(peer, ()):
            share.close()
