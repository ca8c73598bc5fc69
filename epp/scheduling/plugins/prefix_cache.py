"""Prefer endpoints whose KV cache probably holds the start of this prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer


@dataclass(slots=True)
class PrefixCacheScorer(Scorer):
    """`(1 - w) * cached / hashed + w * min(1, cached / scale) ** 2`, in tokens; 0 without a full block (llm-d).

    `w` is `matchLengthWeight`: 0 looks at the share of the prompt only, 1 at how long the match is, on a scale of
    `matchLengthScaleTokens`.
    """

    type: ClassVar[str] = "prefix-cache-scorer"
    needs: ClassVar[tuple[str, ...]] = ("prefix",)
    hints: ClassVar[Mapping[str, str]] = {
        name: f"is a parameter of approx-prefix-cache-producer: give it there{now}"
        for name, now in (
            ("hashBlockSize", ", as blockSizeTokens"),
            ("blockSize", ", as blockSizeTokens"),
            ("autoTune", ""),
            ("blockSizeTokens", ""),
            ("maxPrefixBlocksToMatch", ""),
            ("maxPrefixTokensToMatch", ""),
            ("lruCapacityPerServer", ""),
        )
    }
    prefix_match_info_producer_name: str = ""
    match_length_weight: float = 0.0
    match_length_scale_tokens: int = 8192

    def __post_init__(self) -> None:
        if not 0.0 <= self.match_length_weight <= 1.0:
            raise ValueError("match_length_weight must be from 0 to 1")
        if self.match_length_scale_tokens <= 0:
            raise ValueError("match_length_scale_tokens must be above 0")

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from what the prefix producer found."""
        cached, total = query.cached, query.hashed
        if not cached:
            return [0.0] * len(endpoints)
        length = self.match_length_weight
        if not length:
            return [cached.get(e, 0) / total for e in endpoints]
        share, scale = (1.0 - length) / total, self.match_length_scale_tokens
        held = [cached.get(e, 0) for e in endpoints]
        return [tokens * share + length * min(1.0, tokens / scale) ** 2 for tokens in held]
