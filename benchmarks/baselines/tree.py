"""A prefix tree as several routers keep one: which endpoints were sent a text that begins like this one.

A node is the hash of everything up to the end of its chunk, so the tree is a dict. Must stay true: an endpoint holds at
most `nodes_max` nodes where that is given, the least recently sent leave first, leaves before what they extend.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from xxhash import xxh3_64

from epp.domain import Endpoint


def chunk_hashes(prompt: bytes, model: str | None, chunk_bytes: int) -> list[int]:
    """One running hash at the end of every chunk, the last one perhaps shorter."""
    running = xxh3_64((model or "").encode())
    found = []
    for start in range(0, len(prompt), chunk_bytes):
        running.update(prompt[start : start + chunk_bytes])
        found.append(running.intdigest())
    return found


@dataclass(slots=True)
class PrefixTree:
    """Nodes and who holds them, the first holder first."""

    nodes_max: int | None = None
    holders: dict[int, dict[Endpoint, None]] = field(default_factory=dict)
    held: dict[Endpoint, OrderedDict[int, None]] = field(default_factory=dict)

    def match(self, hashes: Sequence[int]) -> tuple[int, list[Endpoint]]:
        """How many leading chunks somebody holds, and who holds the last of these."""
        depth, at_end = 0, list[Endpoint]()
        for node in hashes:
            holders = self.holders.get(node)
            if not holders:
                break
            depth += 1
            at_end = list(holders) if depth == len(hashes) or hashes[depth] not in self.holders else at_end
        return depth, at_end

    def insert(self, hashes: Sequence[int], endpoint: Endpoint) -> None:
        """The endpoint is sent this text."""
        own = self.held.setdefault(endpoint, OrderedDict())
        for node in reversed(hashes):
            if node not in own:
                self.holders.setdefault(node, {})[endpoint] = None
            own[node] = None
            own.move_to_end(node)
        while self.nodes_max is not None and len(own) > self.nodes_max:
            self._forget(own.popitem(last=False)[0], endpoint)

    def prune(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget every endpoint that is not among these."""
        for endpoint in [e for e in self.held if e not in endpoints]:
            self.forget(endpoint)

    def forget(self, endpoint: Endpoint) -> None:
        """It was sent nothing."""
        for node in self.held.pop(endpoint, ()):
            self._forget(node, endpoint)

    def _forget(self, node: int, endpoint: Endpoint) -> None:
        holders = self.holders[node]
        del holders[endpoint]
        if not holders:
            del self.holders[node]
