"""The profile used when no configuration file gives one: affinity first, bounded by what we know is in flight.

Weights are points; a choice is an exchange of one kind of point for another:

- prefix 3: a prompt that is wholly in an endpoint's cache is worth 3 points there;
- requests in flight 16, softness 20: one request costs 0.76 points on an idle pool, so 1 against 0 does not beat a full
  match and 5 against 0 does (16 * 5/25 = 3.2); with 32 in flight everywhere a request costs 0.3 points;
- tokens not yet prefilled 8, T = 131,072: 16k tokens cost 1 point, so a 100k-token prompt in prefill (6 points)
  outbids any match;
- queue and KV cache 1 each, as samples are late: together they outbid 2 requests on an idle pool, 6 at 32 in flight
  each. Where prompt sizes are very unequal, tokens are balanced at the expense of counts.

What these weights are held to is in tests/scheduling/test_default.py: on a small fleet in virtual time they are no
worse than llm-d's default formula (queue 2, KV 2, prefix 3) and than least requests and have a shorter tail, softness
and token weight each earn their place, and bursts spread also under samples that lie. With more softness a full match
would beat a longer backlog; with more token weight shared documents are computed again near the pool's limit.
"""

from __future__ import annotations

from epp.scheduling.framework import Profile
from epp.scheduling.plugins.active_request import ActiveRequestScorer
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.plugins.kv_cache_utilization import KvCacheUtilizationScorer
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.plugins.prefix_cache import PrefixCacheScorer
from epp.scheduling.plugins.queue import QueueScorer
from epp.scheduling.plugins.reachable import ReachableFilter
from epp.scheduling.plugins.token_load import TokenLoadScorer


def default_profile() -> Profile:
    """A profile of its own memory: one per pool."""
    return Profile(
        name="default",
        producers=(ApproxPrefixCacheProducer(),),
        filters=(ReachableFilter(),),
        scorers=(
            (QueueScorer(), 1.0),
            (KvCacheUtilizationScorer(), 1.0),
            (PrefixCacheScorer(), 3.0),
            (ActiveRequestScorer(softness=20.0), 16.0),
            (TokenLoadScorer(queue_threshold_tokens=131_072), 8.0),
        ),
        picker=MaxScorePicker(),
    )
