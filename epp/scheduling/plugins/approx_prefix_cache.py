"""Work out which endpoints were sent the start of this prompt before: their KV caches probably still hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from epp.domain import Endpoint, Request
from epp.scheduling.framework import Producer, Query
from epp.scheduling.prefix import BYTES_PER_TOKEN, PrefixIndex, covered_bytes, hashes_of


@dataclass(slots=True)
class _Noted:
    """The prompt's hashes, and those that were new to the endpoint it was sent to."""

    hashes: list[int]
    new: list[int] = field(default_factory=list)


@dataclass(slots=True)
class ApproxPrefixCacheProducer(Producer):
    """Leading blocks of the prompt that each endpoint was sent before, least recently sent ones forgotten (llm-d).

    `capacity_tokens` is the cache size assumed of an endpoint that does not tell its own; its default is the Go
    picker's 31,250 engine blocks of 16 tokens.
    """

    type: ClassVar[str] = "approx-prefix-cache-producer"
    capacity_tokens: int = 500_000
    index: PrefixIndex = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.capacity_tokens <= 0:
            raise ValueError("capacity_tokens must be above 0")
        self.index = PrefixIndex(self.capacity_tokens)

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Fills `cached` and `hashed` of the query from the index."""
        hashes = hashes_of(query.request, query.candidate.model)
        query.notes[id(self)] = _Noted(hashes)
        query.hashed = covered_bytes(len(hashes)) // BYTES_PER_TOKEN
        query.cached = self.index.tokens(hashes, endpoints)

    def cached(self, request: Request, model: str | None, endpoints: Sequence[Endpoint]) -> dict[Endpoint, int]:
        """Prompt tokens that each endpoint is believed to hold; those that hold none are left out."""
        return self.index.tokens(hashes_of(request, model), endpoints)

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """The endpoint will hold this prompt."""
        noted: _Noted = query.notes[id(self)]
        noted.new = self.index.insert(noted.hashes, endpoint)

    def moved(self, query: Query, picked: Endpoint, served: Endpoint) -> None:
        """The endpoint that served holds it, and the one picked only what it held before."""
        noted: _Noted = query.notes[id(self)]
        self.index.remove(noted.new, picked)
        noted.new = self.index.insert(noted.hashes, served)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the endpoints that left."""
        self.index.prune(endpoints)
