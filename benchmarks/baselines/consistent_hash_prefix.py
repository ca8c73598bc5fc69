"""Consistent hashing with bounded loads on the prompt's beginning: KubeAI's `PrefixHash` (Mirrokni et al. 2016).

The first 100 characters of the prompt are a point on a ring with 256 points an endpoint; the next endpoint on the ring
takes the request, if it would have at most 1.25 times the mean of requests in flight then, and otherwise the one after;
where none would, the first of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

from benchmarks.baselines.least import LeastScorer
from benchmarks.baselines.ring import Ring
from epp.domain import Endpoint
from epp.scheduling.framework import Profile, Query
from epp.scheduling.plugins.max_score import MaxScorePicker

HEAD_BYTES = len(b'[{"role":"user","content":"')  # of the JSON, in front of the prompt's own characters


@dataclass(slots=True)
class RingScorer(LeastScorer):
    """0 costs the endpoint that the ring gives."""

    type: ClassVar[str] = "consistent-hash-prefix"
    prefix_bytes: int = 100
    load_factor: float = 1.25
    ring: Ring = field(default_factory=lambda: Ring(256), init=False, repr=False)

    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One endpoint of the ring."""
        inflight = {e.name: e.inflight_requests for e in endpoints}
        bound = self.load_factor * (sum(inflight.values()) + 1) / len(endpoints)
        around = self.ring.over(inflight).around(query.request.prompt[: HEAD_BYTES + self.prefix_bytes])
        first = next(around)
        chosen = next((name for name in chain([first], around) if inflight[name] + 1 <= bound), first)
        return [0.0 if e.name == chosen else 1.0 for e in endpoints]


def profile() -> Profile:
    """Bounded-load consistent hashing."""
    return Profile("consistent-hash-prefix", scorers=((RingScorer(), 1.0),), picker=MaxScorePicker())
