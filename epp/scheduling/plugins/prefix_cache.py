"""Prefer endpoints that were sent the start of this prompt before: its KV cache is probably still there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer
from epp.scheduling.prefix import PrefixIndex, block_hashes, covered_bytes


@dataclass(slots=True)
class _Noted:
    """The prompt's hashes, and those that were new to the endpoint it was sent to."""

    hashes: list[int]
    new: list[int] = field(default_factory=list)


@dataclass(slots=True)
class PrefixCacheScorer(Scorer):
    """`matched bytes / bytes in full blocks` of the prompt, 0 when it has no full block (llm-d `prefix-cache-scorer`).

    `capacity_tokens` is the cache size assumed of an endpoint that does not tell its own; its default is the Go
    picker's 31,250 engine blocks of 16 tokens.
    """

    type: ClassVar[str] = "prefix-cache-scorer"
    capacity_tokens: int = 500_000
    index: PrefixIndex = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.capacity_tokens <= 0:
            raise ValueError("capacity_tokens must be above 0")
        self.index = PrefixIndex(self.capacity_tokens)

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the index."""
        hashes = self._noted(query).hashes
        blocks = self.index.match(hashes, endpoints)
        if not any(blocks):
            return [0.0] * len(blocks)
        total = covered_bytes(len(hashes))
        ratios = {count: covered_bytes(count) / total for count in set(blocks)}
        return [ratios[count] for count in blocks]

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The endpoint will hold this prompt."""
        self._noted(query).new = self.index.insert(self._noted(query).hashes, endpoint)

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """The endpoint that served holds it, and the one picked only what it held before."""
        noted = self._noted(query)
        self.index.remove(noted.new, picked)
        noted.new = self.index.insert(noted.hashes, served)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the endpoints that left."""
        self.index.prune(endpoints)

    def _noted(self, query: Query) -> _Noted:
        """Hashed once a decision."""
        noted: _Noted | None = query.notes.get(id(self))
        if noted is None:
            noted = query.notes[id(self)] = _Noted(block_hashes(query.request.prompt, query.candidate.model))
        return noted
