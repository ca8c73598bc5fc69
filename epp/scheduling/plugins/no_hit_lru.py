"""Spread prompts that are cached nowhere: their caches grow where none has grown lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer

NEUTRAL = 0.5


@dataclass(slots=True)
class NoHitLruScorer(Scorer):
    """A cold prompt: `1 - rank / (N - 1)`, rank by when an endpoint last got one, never first; a warm one: 0.5 (llm-d).

    Of endpoints that never got a cold prompt each ranks first, so that the other scorers decide among them.
    """

    type: ClassVar[str] = "no-hit-lru-scorer"
    differs: ClassVar[str] = "Endpoints that never got a cold prompt are equal instead of in the order of the list."
    needs: ClassVar[tuple[str, ...]] = ("prefix",)
    lru_size: int = 1024
    prefix_match_info_producer_name: str = ""
    _last: OrderedDict[Endpoint, None] = field(init=False, repr=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if self.lru_size <= 0:
            raise ValueError("lru_size must be above 0")

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the memory of cold prompts."""
        if query.cached:
            return [NEUTRAL] * len(endpoints)
        count = len(endpoints)
        if count == 1:
            return [1.0]
        last = {e: age for age, e in enumerate(self._last)}
        never = sum(e not in last for e in endpoints)
        rank = {e: never + n for n, e in enumerate(sorted((e for e in endpoints if e in last), key=last.__getitem__))}
        return [1.0 - rank[e] / (count - 1) if e in rank else 1.0 for e in endpoints]

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """A cold prompt went here."""
        if query.cached:
            return
        self._last[endpoint] = None
        self._last.move_to_end(endpoint)
        if len(self._last) > self.lru_size:
            self._last.popitem(last=False)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the endpoints that left."""
        for endpoint in self._last.keys() - set(endpoints):
            del self._last[endpoint]
