"""SGLang's model gateway, policy `cache_aware` (sglang 053b63f, `policies/cache_aware.rs`; CLI defaults 0.3, 64, 1.5).

Where requests in flight are out of balance, `max - min > 64 and max > 1.5 * min`, the least busy worker. Else the
worker whose text tree has the longest match, if that is more than 0.3 of the text, and otherwise the least busy one.
The text is entered into the chosen worker's tree. Its trees are of characters, cut at 16.8 million a worker; these are
of 256 characters a node, and as many.
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
TREE_BYTES_MAX = 1 << 24


@dataclass(slots=True)
class CacheAwareScorer(LeastScorer):
    """0 costs the worker of the longest match, where there is a match and balance; else requests in flight."""

    type: ClassVar[str] = "sglang-cache-aware"
    threshold: float = 0.3
    absolute: int = 64
    relative: float = 1.5
    tree: PrefixTree = field(default_factory=lambda: PrefixTree(TREE_BYTES_MAX // CHUNK_BYTES), init=False, repr=False)

    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """By the rule."""
        hashes = query.notes[id(self)] = chunk_hashes(query.request.prompt, query.candidate.model, CHUNK_BYTES)
        counts = [e.inflight_requests for e in endpoints]
        most, least = max(counts), min(counts)
        if most - least > self.absolute and most > self.relative * least:
            return [float(count) for count in counts]
        depth, holders = self.tree.match(hashes)
        known = [e for e in holders if e in endpoints]
        if known and hashes and depth / len(hashes) > self.threshold:
            return [0.0 if e is known[0] else 1.0 for e in endpoints]
        return [float(count) for count in counts]

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The text goes into the worker's tree."""
        self.tree.insert(query.notes[id(self)], endpoint)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the workers that left."""
        self.tree.prune(endpoints)


def profile() -> Profile:
    """The gateway's default policy."""
    return Profile("sglang-cache-aware", scorers=((CacheAwareScorer(), 1.0),), picker=MaxScorePicker())
