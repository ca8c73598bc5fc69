"""Fewest requests in flight, as counted at dispatch: Envoy's LEAST_REQUEST over all hosts, nginx's `least_conn`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.baselines.least import LeastScorer
from epp.domain import Endpoint
from epp.scheduling.framework import Profile, Query
from epp.scheduling.plugins.max_score import MaxScorePicker


@dataclass(slots=True)
class LeastRequestScorer(LeastScorer):
    """argmin of requests in flight."""

    type: ClassVar[str] = "least-request"

    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """The ledger's counts."""
        return [e.inflight_requests for e in endpoints]


def profile() -> Profile:
    """Least request, equals at random."""
    return Profile("least-request", scorers=((LeastRequestScorer(), 1.0),), picker=MaxScorePicker())
