"""vLLM production-stack's `session` (a6c01db): a session stays where a hash ring puts it, whatever goes on there.

The header that names the session is the key. A request without one goes to the endpoint with the fewest queries a
second, as the router counts them over the last 60 s; where several have as few, one is drawn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from benchmarks.baselines.least import LeastScorer
from benchmarks.baselines.ring import Ring
from epp.domain import Endpoint
from epp.scheduling.framework import Profile, Query
from epp.scheduling.plugins.max_score import MaxScorePicker

WINDOW_S = 60.0
POINTS = 160  # an endpoint's, as in uhashring, which it uses


@dataclass(slots=True)
class SessionScorer(LeastScorer):
    """0 costs the session's endpoint, or who had the fewest queries of late."""

    type: ClassVar[str] = "production-stack-session"
    ring: Ring = field(default_factory=lambda: Ring(POINTS), init=False, repr=False)
    sent: dict[str, deque[float]] = field(default_factory=dict, init=False, repr=False)

    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """By the ring or by the counts."""
        if query.request.session is None:
            return [float(self._recent(e.name, query.now)) for e in endpoints]
        home = next(self.ring.over(e.name for e in endpoints).around(query.request.session.encode()))
        return [0.0 if e.name == home else 1.0 for e in endpoints]

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """One more query there."""
        self.sent.setdefault(endpoint.name, deque()).append(query.now)

    def _recent(self, name: str, now: float) -> int:
        times = self.sent.get(name)
        while times and times[0] < now - WINDOW_S:
            times.popleft()
        return len(times or ())


def profile() -> Profile:
    """Session routing."""
    return Profile("production-stack-session", scorers=((SessionScorer(), 1.0),), picker=MaxScorePicker())
