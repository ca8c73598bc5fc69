"""SGLang's model gateway, policy `cache_aware` (sglang-router 0.3.2, `policies/cache_aware.rs` and `policies/tree.rs`).

Where requests in flight are out of balance, `max - min > 64 and max > 1.5 * min`, the least busy worker. Else the
worker that was first to be sent the longest known beginning of the text, if that is more than 0.3 of the text, and
otherwise the least busy one. Of equally busy ones the *first* is taken, not any (`min_by_key`). The text is entered
into the chosen worker's tree. Where the worker of the match is gone, its tree goes and the first worker is taken, whose
tree does not hear of it. Its trees are of characters, cut at 67,108,864 a worker once a minute; these are of 256
characters a node, cut at as many whenever they grow. `benchmarks/results/rivals.md` has the two beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from benchmarks.baselines.least import LeastScorer
from benchmarks.baselines.tree import PrefixTree, chunk_hashes
from epp.domain import Endpoint
from epp.scheduling.framework import Profile, Query
from epp.scheduling.plugins.max_score import MaxScorePicker

CHUNK_BYTES = 256
TREE_BYTES_MAX = 1 << 26


@dataclass(slots=True)
class CacheAwareScorer(LeastScorer):
    """0 costs the worker that the rule takes."""

    type: ClassVar[str] = "sglang-cache-aware"
    threshold: float = 0.3
    absolute: int = 64
    relative: float = 1.5
    tree: PrefixTree = field(default_factory=lambda: PrefixTree(TREE_BYTES_MAX // CHUNK_BYTES), init=False, repr=False)

    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """By the rule."""
        hashes = chunk_hashes(query.request.prompt, query.candidate.model, CHUNK_BYTES)
        query.notes[id(self)] = hashes
        chosen = self._choose(query, hashes, endpoints)
        return [0.0 if endpoint is chosen else 1.0 for endpoint in endpoints]

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The text goes into the worker's tree."""
        self.tree.insert(query.notes[id(self)], endpoint)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the workers that left."""
        self.tree.prune(endpoints)

    def _choose(self, query: Query, hashes: Sequence[int], endpoints: Sequence[Endpoint]) -> Endpoint:
        least_busy = min(endpoints, key=lambda endpoint: endpoint.inflight_requests)
        least, most = least_busy.inflight_requests, max(endpoint.inflight_requests for endpoint in endpoints)
        if most - least > self.absolute and most > self.relative * least:
            return least_busy
        depth, holders = self.tree.match(hashes)
        if not hashes or depth / len(hashes) <= self.threshold:
            return least_busy
        if holders[0] in endpoints:
            return holders[0]
        self.tree.forget(holders[0])
        query.notes[id(self)] = ()
        return endpoints[0]


def profile() -> Profile:
    """The gateway's default policy."""
    return Profile("sglang-cache-aware", scorers=((CacheAwareScorer(), 1.0),), picker=MaxScorePicker())
