"""llm-d's built-in and Helm default: `2 * queue + 2 * (1 - kv) + 3 * prefix` over scraped metrics, best score.

Source: llm-d-router ebab687, `pkg/epp/config/loader/defaults.go` and the chart's `_config.yaml`.
"""

from __future__ import annotations

from benchmarks.baselines.llm_d_index import LlmdPrefixProducer
from epp.scheduling.framework import Profile
from epp.scheduling.plugins.kv_cache_utilization import KvCacheUtilizationScorer
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.plugins.prefix_cache import PrefixCacheScorer
from epp.scheduling.plugins.queue import QueueScorer


def profile() -> Profile:
    """The built-in default."""
    return Profile(
        "llm-d-default",
        producers=(LlmdPrefixProducer(),),
        scorers=((QueueScorer(), 2.0), (KvCacheUtilizationScorer(), 2.0), (PrefixCacheScorer(), 3.0)),
        picker=MaxScorePicker(),
    )
