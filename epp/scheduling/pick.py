"""A choice among endpoints, and what it came of: columns while it is kept, a row an endpoint when somebody reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from epp.domain import Endpoint, Load

if TYPE_CHECKING:
    from epp.scheduling.framework import Query

LOAD_INPUTS = ("waiting", "running", "kv_usage", "block_size", "num_blocks")  # of a sample, in receipts


@dataclass(slots=True)
class Inputs:
    """What scorers go by, at the moment of a choice: a number for each endpoint that it was made among.

    Columns and not rows, since a request pays for them; a sample is a value that never changes, and is not copied.
    """

    now: float
    cached: Mapping[Endpoint, int]
    inflight_requests: Sequence[float]
    inflight_tokens: Sequence[int]
    work_s: Sequence[float]
    work_prompts: Sequence[int]
    loads: Sequence[Load | None]

    def row(self, place: int, endpoint: Endpoint) -> dict[str, Any]:
        """JSON-ready; what is not known is null."""
        load = self.loads[place]
        return {
            "inflight_requests": self.inflight_requests[place],
            "inflight_tokens": self.inflight_tokens[place],
            "work_s": round(self.work_s[place], 6),
            "work_prompts": self.work_prompts[place],
            "cached_tokens": self.cached.get(endpoint, 0),
            "age_s": None if load is None else round(self.now - load.at, 3),
            **{name: None if load is None else getattr(load, name) for name in LOAD_INPUTS},
        }


@dataclass(slots=True)
class Pick:
    """A choice among endpoints, by its place among them, and how it came about (rendered only when asked).

    `unused` are scorers that were not asked, with the reason; `details` what scores rest on, by name, a number each.
    """

    place: int
    endpoints: Sequence[Endpoint]
    totals: Sequence[float]
    columns: Sequence[tuple[str, float, Sequence[float]]]
    dropped: Sequence[tuple[Endpoint, str]] = ()
    further: Sequence[Endpoint] = ()
    unused: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Sequence[float]] = field(default_factory=dict)
    inputs: Inputs | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The one chosen."""
        return self.endpoints[self.place]

    def score(self, scorer_type: str) -> float | None:
        """What one scorer said of the choice; None where it was not asked."""
        return next((scores[self.place] for name, _, scores in self.columns if name == scorer_type), None)

    def best(self, count: int) -> Pick:
        """The same choice, with only the best rows to explain it by; as it is where there are no more."""
        if len(self.endpoints) <= count and len(self.dropped) <= count:
            return self
        places = nlargest(count, range(len(self.endpoints)), self.totals.__getitem__)
        if self.place not in places:
            places[-1] = self.place
        return Pick(
            places.index(self.place),
            [self.endpoints[place] for place in places],
            [self.totals[place] for place in places],
            [(name, weight, [scores[place] for place in places]) for name, weight, scores in self.columns],
            self.dropped[:count],
            unused=self.unused,
            details={name: [values[place] for place in places] for name, values in self.details.items()},
        )

    def remember(self, query: Query) -> None:
        """What was known of each endpoint, before the lease changes it: enough to choose again by other rules."""
        kept, now, told = self.endpoints, query.now, self.details
        requests, work = told.get("in_flight"), told.get("wait_s")
        if requests is None or work is None:  # else the scorer has written them down already
            requests = [e.inflight_requests for e in kept]
            work = [e.outstanding_s(now) if e.work_s else 0.0 for e in kept]
        tokens, loads = [e.inflight_tokens for e in kept], [e.load for e in kept]
        prompts = [e.work_prompts for e in kept]
        self.inputs = Inputs(now, query.cached, requests, tokens, work, prompts, loads)

    def size(self) -> tuple[int, int]:
        """Rows and numbers in each, of what `explain` tells."""
        inputs = 5 if self.inputs is not None else 0
        return len(self.endpoints) + len(self.dropped), len(self.columns) + len(self.details) + inputs

    def scores(self) -> dict[str, float]:
        """The weighted total of every endpoint that was scored, by its address."""
        return {e.address: total for e, total in zip(self.endpoints, self.totals, strict=True)}

    def explain(self) -> list[dict[str, Any]]:
        """One row an endpoint: address, score per scorer, weighted total, and by which filter it was excluded."""
        kept = [
            {
                "address": e.address,
                "name": e.name,
                "scores": {name: round(scores[i], 4) for name, _, scores in self.columns},
                "details": {name: round(values[i], 6) for name, values in self.details.items()},
                "total": round(self.totals[i], 4),
                "excluded": False,
                "reason": "picked" if i == self.place else "",
                "inputs": self.inputs.row(i, e) if self.inputs else None,
            }
            for i, e in enumerate(self.endpoints)
        ]
        gone: list[dict[str, Any]] = [
            {
                "address": e.address,
                "name": e.name,
                "scores": {},
                "details": {},
                "total": None,
                "excluded": True,
                "reason": why,
                "inputs": None,
            }
            for e, why in self.dropped
        ]
        return kept + gone
