"""Consistent hashing with bounded loads on the prompt's beginning: KubeAI's `PrefixHash` (Mirrokni et al. 2016).

The first 100 characters of the prompt are a point on a ring with 256 points an endpoint; the next endpoint on the ring
takes the request, if it would have at most 1.25 times the mean of requests in flight then, and otherwise the one after;
where none would, the first of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import ClassVar

from xxhash import xxh3_64_intdigest

from benchmarks.baselines.least import LeastScorer
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
    points: int = 256
    ring: list[tuple[int, str]] = field(default_factory=list, init=False, repr=False)
    listed: list[str] = field(default_factory=list, init=False, repr=False)

    def costs(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One endpoint of the ring."""
        names = {e.name: e for e in endpoints}
        if self.listed != list(names):
            self.listed = list(names)
            self.ring = sorted(
                (xxh3_64_intdigest(f"{name}/{n}".encode()), name) for name in names for n in range(self.points)
            )
        bound = self.load_factor * (sum(e.inflight_requests for e in endpoints) + 1) / len(endpoints)
        start = bisect_left(self.ring, (xxh3_64_intdigest(query.request.prompt[: HEAD_BYTES + self.prefix_bytes]), ""))
        around = self._around(start, len(names))
        first = next(around)
        room = (name for name in chain([first], around) if names[name].inflight_requests + 1 <= bound)
        chosen = next(room, first)
        return [0.0 if e.name == chosen else 1.0 for e in endpoints]

    def _around(self, start: int, count: int) -> Iterator[str]:
        """Each endpoint once, in the order of the ring."""
        seen: set[str] = set()
        for n in range(len(self.ring)):
            name = self.ring[(start + n) % len(self.ring)][1]
            if name not in seen:
                yield name
                seen.add(name)
                if len(seen) == count:
                    return


def profile() -> Profile:
    """Bounded-load consistent hashing."""
    return Profile("consistent-hash-prefix", scorers=((RingScorer(), 1.0),), picker=MaxScorePicker())
