"""vLLM production-stack's `prefixaware` (a6c01db): the longest match in a trie of 128-character chunks, at random.

The trie is never cut, and load has no say: `prefix_min_match_length` is 0, so its fall-back on the least queries a
second is not reached. Among endpoints that share the longest match, and where there is none among all, one is drawn.
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

CHUNK_BYTES = 128


@dataclass(slots=True)
class PrefixAwareScorer(LeastScorer):
    """0 costs who has the longest match; the first chunk that all prompts share sends them all to one endpoint."""

    type: ClassVar[str] = "production-stack-prefix"
    tree: PrefixTree = field(default_factory=PrefixTree, init=False, repr=False)

    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """By the trie alone."""
        hashes = query.notes[id(self)] = chunk_hashes(query.request.prompt, query.candidate.model, CHUNK_BYTES)
        _, holders = self.tree.match(hashes)
        longest = set(holders)
        return [0.0 if e in longest else 1.0 for e in endpoints]

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The prompt goes into the trie."""
        self.tree.insert(query.notes[id(self)], endpoint)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the endpoints that left."""
        self.tree.prune(endpoints)


def profile() -> Profile:
    """Prefix-aware routing."""
    return Profile("production-stack-prefix", scorers=((PrefixAwareScorer(), 1.0),), picker=MaxScorePicker())
