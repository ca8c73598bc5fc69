"""Prefer endpoints where a request costs least: its own wait, and what it makes others wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

from epp.domain import Cost, Endpoint
from epp.scheduling.framework import Query, Scorer
from epp.scheduling.reckoner import Reckoner
from epp.scheduling.speed import shape


@dataclass(slots=True)
class LeastWorkScorer(Scorer):
    """`min(J) / J` with `J = (W + (1 + arrivals) * s) * (1 + decodes * n)`, in seconds.

    `W` is the predicted prefill work outstanding at the endpoint, `s` the request's own given what is cached there, `n`
    the requests in flight. `arrivals` is what a second of own work costs those who come later: in an M/G/1 queue
    `rho / (1 - rho)` seconds, 3 at three quarters of the capacity. `decodes` is what it costs each request that is
    decoding there and stands still meanwhile. Mooncake's least time to first token is (0, 0), LMetric (arXiv
    2603.15202) about (0, 1). Speeds are learned, so replicas that differ need no labels.
    """

    type: ClassVar[str] = "least-work-scorer"
    arrivals: float = 3.0
    decodes: float = 0.2
    reckoner: Reckoner = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("arrivals", "decodes"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be finite and not negative")
        self.reckoner = Reckoner()

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint; 1 for the cheapest."""
        now, prompt, cached, speed = query.now, query.request.prompt_tokens, query.cached, self.reckoner.speed
        own, decodes, cold = 1.0 + self.arrivals, self.decodes, shape(prompt, 0)
        costs = []
        for e in endpoints:
            fit = speed(e).fit
            hit = cached.get(e, 0) if cached else 0
            work = cold if not hit else _shape(prompt, hit)
            elapsed = now - e.work_since
            waiting = e.work_s - (elapsed if elapsed < e.work_head_s else e.work_head_s) if e.work_s else 0.0
            costs.append((waiting + own * (fit.a + fit.k * work)) * (1.0 + decodes * e.inflight_requests))
        least = min(costs)
        return [least / cost if cost > 0 else 1.0 for cost in costs]

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """Tell the ledger what the request takes there."""
        prompt = query.request.prompt_tokens
        hit = query.cached.get(endpoint, 0)
        work = _shape(prompt, hit)
        query.notes[id(self)] = work
        speed = self.reckoner.speed(endpoint)
        work_s = speed.fit.seconds(work)
        query.cost = Cost(
            tokens=max(0, prompt - hit),
            context=prompt,
            work_s=work_s,
            ttft_s=endpoint.outstanding_s(query.now) + work_s,
        )

    def answered(self, query: Query, endpoint: Endpoint, seconds: float) -> None:
        """Learn how fast the endpoint is."""
        work = query.notes.get(id(self))
        if work is not None:
            self.reckoner.computed(endpoint, work, query.now, query.now + seconds)

    def relisted(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget the endpoints that left."""
        self.reckoner.keep(endpoints)


def _shape(prompt: int, hit: int) -> float:
    """At least one token is always computed: the next one is sampled from its output."""
    hit = min(hit, max(0, prompt - 1))
    return shape(prompt - hit, hit)
