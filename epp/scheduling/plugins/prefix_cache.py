"""Prefer endpoints whose KV cache probably holds the start of this prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer


@dataclass(slots=True)
class PrefixCacheScorer(Scorer):
    """`cached tokens / hashed tokens` of the prompt, 0 when it has no full block (llm-d `prefix-cache-scorer`)."""

    type: ClassVar[str] = "prefix-cache-scorer"

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from what the prefix producer found."""
        cached, total = query.cached, query.hashed
        if not cached:
            return [0.0] * len(endpoints)
        return [cached.get(e, 0) / total for e in endpoints]
