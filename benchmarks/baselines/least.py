"""Rules that take the least of something, said as scores: 1 for every least one, 0 for the others.

The max-score picker chooses at random among equals, so what is left to chance in a rule is left to chance here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from epp.domain import Endpoint
from epp.scheduling.framework import Query, Scorer


class LeastScorer(Scorer):
    """Scores by a cost of which the least is best."""

    @abstractmethod
    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> Sequence[float]:
        """One cost per endpoint."""

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """1 where the cost is least."""
        costs = self.costs(query, endpoints)
        least = min(costs)
        return [1.0 if cost <= least else 0.0 for cost in costs]
