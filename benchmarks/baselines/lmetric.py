"""LMetric (arXiv 2603.15202): argmin `P-token x BS`, nothing to tune.

P-token are the prompt tokens an endpoint has to compute before it answers this request: those outstanding there, and
its own that are not cached; BS is the batch it would join, this request included (as sglang's port counts it, so that
an idle endpoint is told from another by what it has cached). Hits come from the picker's own prefix index, sized right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.baselines.least import LeastScorer
from epp.domain import Endpoint
from epp.scheduling.framework import Profile, Query
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.plugins.max_score import MaxScorePicker


@dataclass(slots=True)
class LMetricScorer(LeastScorer):
    """`(outstanding + own uncached tokens) * (requests in flight + 1)`."""

    type: ClassVar[str] = "lmetric"

    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """From the ledger and the prefix index."""
        prompt, cached = query.request.prompt_tokens, query.cached
        return [(e.inflight_tokens + max(1, prompt - cached.get(e, 0))) * (e.inflight_requests + 1) for e in endpoints]


def profile() -> Profile:
    """LMetric."""
    return Profile(
        "lmetric",
        producers=(ApproxPrefixCacheProducer(),),
        scorers=((LMetricScorer(), 1.0),),
        picker=MaxScorePicker(),
    )
