"""The less busy of two endpoints drawn at random (Mitzenmacher 2001): Envoy's LEAST_REQUEST default, Ray Serve's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint
from epp.scheduling.framework import Profile, Query, Scorer
from epp.scheduling.plugins.max_score import MaxScorePicker


@dataclass(slots=True)
class PowerOfTwoScorer(Scorer):
    """1 for the less busy of two, by requests in flight; both where they are equal."""

    type: ClassVar[str] = "p2c"

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """0 for all but the drawn."""
        drawn = query.rng.sample(range(len(endpoints)), min(2, len(endpoints)))
        least = min(endpoints[i].inflight_requests for i in drawn)
        return [1.0 if i in drawn and e.inflight_requests <= least else 0.0 for i, e in enumerate(endpoints)]


def profile() -> Profile:
    """Power of two choices."""
    return Profile("p2c", scorers=((PowerOfTwoScorer(), 1.0),), picker=MaxScorePicker())
