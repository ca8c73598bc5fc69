"""NVIDIA Dynamo's KV router (07a6c9c, `lib/kv-router`): least blocks to prefill and to hold.

    cost = max(0, (active prefill tokens + prompt) / block - overlap blocks) + decode blocks

with its defaults: both weights 1, temperature 0, equals at random. Active prefill tokens are those not yet computed of
requests before their first token; decode blocks are the distinct blocks that the worker would hold for its requests in
flight, this one included. Its overlap comes from the engine's KV events; here from the picker's own prefix index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from benchmarks.baselines.least import LeastScorer
from benchmarks.baselines.tree import chunk_hashes
from epp.domain import Endpoint
from epp.scheduling.framework import Answer, Profile, Query
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.plugins.max_score import MaxScorePicker

BLOCK_TOKENS = 64
BLOCK_BYTES = 4 * BLOCK_TOKENS


@dataclass(slots=True)
class KvRouterScorer(LeastScorer):
    """The cost above; `active` are the blocks of each worker's requests in flight, with how many hold each."""

    type: ClassVar[str] = "dynamo"
    active: dict[Endpoint, Counter[int]] = field(default_factory=dict, init=False, repr=False)

    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """In blocks."""
        blocks = query.notes[id(self)] = chunk_hashes(query.request.prompt, query.candidate.model, BLOCK_BYTES)
        prompt, cached = query.request.prompt_tokens, query.cached
        costs = []
        for e in endpoints:
            prefill = max(0.0, (e.inflight_tokens + prompt - cached.get(e, 0)) / BLOCK_TOKENS)
            active = self.active.get(e)
            costs.append(prefill + _with(active, blocks))
        return costs

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The worker holds its blocks from now on."""
        self.active.setdefault(endpoint, Counter()).update(query.notes[id(self)])

    def ended(self, query: Query, endpoint: Endpoint, answer: Answer) -> None:
        """The worker lets them go."""
        active = self.active.get(endpoint)
        if active is None:
            return
        for block in query.notes.get(id(self), ()):
            active[block] -= 1
            if active[block] <= 0:
                del active[block]

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the workers that left."""
        for endpoint in [e for e in self.active if e not in endpoints]:
            del self.active[endpoint]


def _with(active: Counter[int] | None, blocks: Sequence[int]) -> int:
    """How many distinct blocks there would be; hashes are chained, so the first that is new ends what is shared."""
    if active is None:
        return len(blocks)
    shared = next((n for n, block in enumerate(blocks) if block not in active), len(blocks))
    return len(active) + len(blocks) - shared


def profile() -> Profile:
    """Dynamo's defaults."""
    return Profile(
        "dynamo",
        producers=(ApproxPrefixCacheProducer(),),
        scorers=((KvRouterScorer(), 1.0),),
        picker=MaxScorePicker(),
    )
