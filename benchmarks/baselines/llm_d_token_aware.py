"""The guides' default since August 2026: stay where the prompt is cached until that is too slow, then fewest tokens.

Source: llm-d-router ebab687, `prefix-cache-affinity-filter` (threshold 0.8, penalty 18 s, 15,928 prompt tokens a
second, which is Qwen3-32B on two H100) and `token-load-scorer` (T = 4,194,304); `active-request-scorer` is what the
guides put in its place for decode-bound loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.baselines.llm_d_index import LlmdPrefixProducer
from epp.domain import Endpoint
from epp.scheduling.framework import Filter, Profile, Query, Scorer
from epp.scheduling.plugins.active_request import ActiveRequestScorer
from epp.scheduling.plugins.max_score import MaxScorePicker

TUNED_TOKENS_PER_S = 36_700.0  # Llama-3-8B on an H100: an 8,192-token chunk in 223 ms


@dataclass(slots=True)
class PrefixCacheAffinityFilter(Filter):
    """Keeps endpoints that hold `threshold` of the prompt, unless the best of them is `penalty_s` slower than others.

    An endpoint's time to first token is taken for its outstanding prompt tokens over `tokens_per_s`.
    """

    type: ClassVar[str] = "llm-d-prefix-cache-affinity"
    threshold: float = 0.8
    penalty_s: float = 18.0
    tokens_per_s: float = 15_928.0

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """The sticky ones, or all."""
        needed = self.threshold * query.hashed
        sticky = [e for e in endpoints if query.hashed and query.cached.get(e, 0) >= needed]
        if not sticky or len(sticky) == len(endpoints):
            return list(endpoints)
        chosen = set(sticky)
        least = min(e.inflight_tokens for e in sticky)
        least_other = min(e.inflight_tokens for e in endpoints if e not in chosen)
        return list(endpoints) if (least - least_other) / self.tokens_per_s > self.penalty_s else sticky


@dataclass(slots=True)
class TokenLoadScorer(Scorer):
    """`1 - min(outstanding + own uncached tokens, T) / T`."""

    type: ClassVar[str] = "llm-d-token-load"
    threshold: int = 4_194_304

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """From the ledger and the prefix index."""
        prompt, cached, top = query.request.prompt_tokens, query.cached, self.threshold
        return [1.0 - min(e.inflight_tokens + max(0, prompt - cached.get(e, 0)), top) / top for e in endpoints]


def profile() -> Profile:
    """As the guides install it."""
    return _made("llm-d-token-aware", PrefixCacheAffinityFilter(), TokenLoadScorer())


def tuned() -> Profile:
    """With the peak throughput of the simulated H100 in place of the guides'."""
    return _made(
        "llm-d-token-aware-tuned", PrefixCacheAffinityFilter(tokens_per_s=TUNED_TOKENS_PER_S), TokenLoadScorer()
    )


def active_request() -> Profile:
    """The guides' variant for decode-bound loads."""
    return _made("llm-d-active-request", PrefixCacheAffinityFilter(), ActiveRequestScorer())


def _made(name: str, affinity: Filter, scorer: Scorer) -> Profile:
    return Profile(
        name, producers=(LlmdPrefixProducer(),), filters=(affinity,), scorers=((scorer, 1.0),), picker=MaxScorePicker()
    )
