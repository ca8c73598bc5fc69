"""The profile used when no configuration file gives one: where a request costs least, in seconds, itself and others.

Two constants (`plugins/least_work.py` has the formula and what they stand for): `arrivals` 3, `decodes` 0.2. How they
were found, against which rules and on which loads, is in `docs/decisions/0008-default-policy.md`.
"""

from __future__ import annotations

from epp.scheduling.framework import Profile
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.plugins.health import HealthFilter
from epp.scheduling.plugins.least_work import LeastWorkScorer
from epp.scheduling.plugins.near_best import NearBestPicker
from epp.scheduling.plugins.reachable import ReachableFilter
from epp.scheduling.reckoner import Reckoner


def default_profile() -> Profile:
    """A profile of its own memory: one per pool."""
    prefixes, scorer = ApproxPrefixCacheProducer(), LeastWorkScorer()
    scorer.reckoner.prefixes = prefixes
    return Profile(
        name="default",
        producers=(prefixes,),
        filters=(ReachableFilter(), HealthFilter()),
        scorers=((scorer, 1.0),),
        picker=NearBestPicker(),
    )


def reckoner_of(profile: Profile) -> Reckoner | None:
    """What a profile reckons by, where it reckons in seconds."""
    return next((s.reckoner for s, _ in profile.scorers if isinstance(s, LeastWorkScorer)), None)
