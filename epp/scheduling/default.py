"""The profile used when no configuration file gives one: where a request costs least, in seconds, itself and others.

The numbers of its formula, and what they stand for, are in `plugins/least_work.py`. How they were found, against which
rules and on which loads, is in `docs/decisions/0008-default-policy.md`.
"""

from __future__ import annotations

from dataclasses import asdict

from epp.scheduling.framework import Profile, Scheduler
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.plugins.health import HealthFilter
from epp.scheduling.plugins.least_work import LeastWorkScorer
from epp.scheduling.plugins.near_best import NearBestPicker
from epp.scheduling.plugins.reachable import ReachableFilter
from epp.scheduling.reckoner import Prices, Reckoner

DEFAULT = Prices()


def default_profile(prices: Prices = DEFAULT) -> Profile:
    """A profile of its own memory: one per pool."""
    prefixes, scorer = ApproxPrefixCacheProducer(), LeastWorkScorer(**asdict(prices))
    scorer.reckoner.prefixes = prefixes
    return Profile(
        name="default",
        producers=(prefixes,),
        filters=(ReachableFilter(), HealthFilter()),
        scorers=((scorer, 1.0),),
        picker=NearBestPicker(),
    )


def reckoner_of(scheduler: Scheduler) -> Reckoner | None:
    """What a scheduler reckons by, where it reckons in seconds."""
    return next((p.reckoner for p in scheduler.plugins if isinstance(p, LeastWorkScorer)), None)
