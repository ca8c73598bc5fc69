"""Choose by predicted time to the first token and from token to token, against what the request asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from epp.domain import Endpoint, Reason, Refused
from epp.plugin import named
from epp.scheduling.framework import Admitter, Filter, Query, Scorer
from epp.scheduling.slo import headrooms, meets, slo_of

IN_TIME, LATE = 0.5, 0.4  # the lowest score of endpoints that are predicted to be in time, the highest of the others
NEEDS = ("latency",)


@dataclass(slots=True)
class LatencyScorer(Scorer):
    """By headroom `ttftWeight * (SLO - TTFT) + tpotWeight * (SLO - TPOT)` in seconds, scaled over the endpoints.

    Endpoints in time score 0.5 to 1, by least or most headroom as `headroomSelectionStrategy` says; those that are late
    up to 0.4, the least late best. A request without an SLO goes where it is soonest. Without predictions: the mean of
    free KV cache, short queue and cached share of the prompt, by the composite weights.
    """

    type: ClassVar[str] = "latency-scorer"
    needs: ClassVar[tuple[str, ...]] = NEEDS
    differs: ClassVar[str] = "How scores are scaled is ours; the order of endpoints is the Go picker's."
    ttft_weight: float = 0.8
    tpot_weight: float = 0.2
    headroom_selection_strategy: Literal["least", "most"] = "least"
    composite_kv_weight: float = named("compositeKVWeight", 1.0)
    composite_queue_weight: float = 1.0
    composite_prefix_weight: float = 1.0

    def __post_init__(self) -> None:
        names = ("ttft_weight", "tpot_weight", *_COMPOSITE)
        for name in names:
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} must not be negative")
        if not self.ttft_weight + self.tpot_weight > 0.0:
            raise ValueError("ttft_weight and tpotWeight must not both be 0")

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint."""
        left = headrooms(query, endpoints)
        if left is None:
            return self._composite(query, endpoints)
        slo = slo_of(query.request.headers)
        ttft, tpot = self.ttft_weight, self.tpot_weight
        weighed = [ttft * first + tpot * between for first, between in left]
        in_time = [slo.asked and meets(slo, each) for each in left]
        sign = -1.0 if self.headroom_selection_strategy == "least" else 1.0
        early = iter(_scaled([sign * w for w, good in zip(weighed, in_time, strict=True) if good]))
        late = iter(_scaled([w for w, good in zip(weighed, in_time, strict=True) if not good]))
        most_late = LATE if any(in_time) else 1.0
        return [IN_TIME + (1.0 - IN_TIME) * next(early) if good else most_late * next(late) for good in in_time]

    def _composite(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        total = sum(getattr(self, name) for name in _COMPOSITE) or 1.0
        waiting = [e.load.waiting or 0.0 if e.load is not None else 0.0 for e in endpoints]
        used = [e.load.kv_usage or 0.0 if e.load is not None else 0.0 for e in endpoints]
        most, hashed, cached = max(waiting) or 1.0, query.hashed or 1, query.cached
        return [
            (
                self.composite_kv_weight * (1.0 - kv)
                + self.composite_queue_weight * (1.0 - queue / most)
                + self.composite_prefix_weight * cached.get(e, 0) / hashed
            )
            / total
            for e, queue, kv in zip(endpoints, waiting, used, strict=True)
        ]


@dataclass(slots=True)
class SloHeadroomTierFilter(Filter):
    """Keeps the endpoints that are predicted to keep the request's SLO; with `epsilonExploreNeg` the others instead.

    All where the request has no SLO, where all keep it, or where none does (llm-d).
    """

    type: ClassVar[str] = "slo-headroom-tier-filter"
    needs: ClassVar[tuple[str, ...]] = NEEDS
    epsilon_explore_neg: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 <= self.epsilon_explore_neg <= 1.0:
            raise ValueError("epsilon_explore_neg must be from 0 to 1")

    def keep(self, query: Query, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """One tier, or both."""
        slo, left = slo_of(query.request.headers), headrooms(query, endpoints)
        if left is None or not slo.asked:
            return list(endpoints)
        good = [meets(slo, each) for each in left]
        if all(good) or not any(good):
            return list(endpoints)
        wanted = query.rng.random() >= self.epsilon_explore_neg
        return [e for e, each in zip(endpoints, good, strict=True) if each is wanted]


@dataclass(slots=True)
class LatencySloAdmitter(Admitter):
    """Refuses a request of negative priority whose SLO no endpoint is predicted to keep (llm-d)."""

    type: ClassVar[str] = "latency-slo-admitter"
    needs: ClassVar[tuple[str, ...]] = NEEDS
    differs: ClassVar[str] = "A refusal is a 429, where the Go picker answers 500."

    def admit(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Raises `Refused`."""
        if query.request.priority >= 0:
            return
        slo, left = slo_of(query.request.headers), headrooms(query, endpoints)
        if slo.asked and left is not None and not any(meets(slo, each) for each in left):
            raise Refused(Reason.SHED, "no endpoint is predicted to answer in time, sheddable request dropped")


_COMPOSITE = ("composite_kv_weight", "composite_queue_weight", "composite_prefix_weight")


def _scaled(values: Sequence[float]) -> list[float]:
    """0 for the least, 1 for the most; 1 for all where they are equal."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(value - low) / (high - low) if high > low else 1.0 for value in values]
