"""Prefer endpoints with few prompt tokens still to be prefilled: one long prompt is more work than many short ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer


@dataclass(slots=True)
class TokenLoadScorer(Scorer):
    """`1 - min(inflight_tokens + uncached prompt tokens, T) / T`, T being `queueThresholdTokens` (llm-d).

    Inflight tokens are the ledger's: charged when a request is sent, given back at its first answer byte.
    """

    type: ClassVar[str] = "token-load-scorer"
    queue_threshold_tokens: int = 4_194_304

    def __post_init__(self) -> None:
        if self.queue_threshold_tokens <= 0:
            raise ValueError("queue_threshold_tokens must be above 0")

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the ledger."""
        threshold = self.queue_threshold_tokens
        room, prompt, cached = threshold - query.request.prompt_tokens, query.request.prompt_tokens, query.cached
        if cached:
            spare = [room - e.inflight_tokens + min(prompt, cached.get(e, 0)) for e in endpoints]
        else:
            spare = [room - e.inflight_tokens for e in endpoints]
        return [s / threshold if s > 0 else 0.0 for s in spare]
