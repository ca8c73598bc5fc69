"""The guides' blend: llm-d's default and `2 * no-hit-lru` (llm-d-router ebab687, `no-hit-lru-scorer`).

Where no endpoint has any of the prompt, the endpoint to which a cold prompt went longest ago has 1 and the latest 0,
those that never had one first; where any has some of it, every endpoint has 0.5.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from benchmarks.baselines.llm_d_index import LlmdPrefixProducer
from epp.domain import Endpoint
from epp.scheduling.framework import Profile, Query, Scorer
from epp.scheduling.plugins.kv_cache_utilization import KvCacheUtilizationScorer
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.plugins.prefix_cache import PrefixCacheScorer
from epp.scheduling.plugins.queue import QueueScorer


@dataclass(slots=True)
class NoHitLruScorer(Scorer):
    """Spreads cold prompts by who was given one least recently."""

    type: ClassVar[str] = "no-hit-lru"
    cold: OrderedDict[Endpoint, None] = field(default_factory=OrderedDict, init=False, repr=False)

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """From 1 (never, or longest ago) to 0 (last)."""
        if query.cached or len(endpoints) < 2:
            return [0.5 if query.cached else 1.0] * len(endpoints)
        never = [e for e in endpoints if e not in self.cold]
        among = set(endpoints)
        order = [*never, *(e for e in self.cold if e in among)]
        ranks = {endpoint: rank for rank, endpoint in enumerate(order)}
        return [1.0 - ranks[e] / (len(endpoints) - 1) for e in endpoints]

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """A cold prompt goes there."""
        if not query.cached:
            self.cold[endpoint] = None
            self.cold.move_to_end(endpoint)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the endpoints that left."""
        for endpoint in [e for e in self.cold if e not in endpoints]:
            del self.cold[endpoint]


def profile() -> Profile:
    """2 queue, 2 KV, 3 prefix, 2 no-hit-lru."""
    return Profile(
        "llm-d-nohit",
        producers=(LlmdPrefixProducer(),),
        scorers=(
            (QueueScorer(), 2.0),
            (KvCacheUtilizationScorer(), 2.0),
            (PrefixCacheScorer(), 3.0),
            (NoHitLruScorer(), 2.0),
        ),
        picker=MaxScorePicker(),
    )
