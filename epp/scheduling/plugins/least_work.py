"""Prefer endpoints where a request costs least: its own wait, and what it makes others wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import Plugin, Stage
from epp.scheduling.adapters import adapter_of
from epp.scheduling.framework import Query, Scorer
from epp.scheduling.learner import Learner
from epp.scheduling.prefix import Prefixes
from epp.scheduling.reckoner import Prices, Reckoner, shape_of
from epp.scheduling.shared import marks_of


@dataclass(slots=True)
class LeastWorkScorer(Learner, Scorer):
    """`min(J) / J`, `J = (W + (1 + arrivals) * s) * (1 + decodes * n + u / 2 + full * k) + behind * p * m +
    room * b * z`, in seconds.

    `W` is the predicted prefill work outstanding at the endpoint, and what a LoRA adapter waits for its slot there; `s`
    the request's own given what is cached there; `n` the requests in flight; `u` the part of the KV cache in use with
    this request; `k` how near it is to full (0 below 75 %, 1 at 99 %). `arrivals` is what a second of
    own work costs those who come later: in an M/G/1 queue `rho / (1 - rho)` seconds, 3 at three quarters of the
    capacity. `decodes` is what it costs each request that is decoding there and stands still meanwhile; `full` stands
    for waiting until blocks come free. `behind` is what a second of the pause `p`, all of `s` but the first 0.1, costs
    each of the `m` prompts that are computed there before (2 at most are counted): their answers will just have begun
    by then, and a short answer has no later tokens to make up for a pause. `room` is what the whole KV cache is worth,
    in seconds, where `z`, `u / (1.01 - u)`, is 1: `b` is the part of it that the prompt takes for as long as
    it runs, less what requests in flight there hold anyway: of a block that `h` of them hold, `h / (h + 1)`. So the
    copies of a shared prefix do not multiply while memory is short, and those that few use are left to end.
    Mooncake's least time to first token is (0, 0, 0), LMetric (arXiv 2603.15202)
    about (0, 1, 0). Speeds are learned, so replicas that differ need no labels.
    """

    type: ClassVar[str] = "least-work-scorer"
    stage: ClassVar[Stage] = "ours"
    needs: ClassVar[tuple[str, ...]] = ("prefix",)
    bounded: ClassVar[bool] = True
    arrivals: float = 3.0
    decodes: float = 0.2
    full: float = 4.0
    behind: float = 12.0
    room: float = 60.0
    reckoner: Reckoner = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.reckoner = Reckoner(Prices(self.arrivals, self.decodes, self.full, self.behind, self.room))

    def join(self, named: Mapping[str, Plugin]) -> None:
        """What is cached where, for those who ask the reckoner before there is a query."""
        self.reckoner.prefixes = next((p for p in named.values() if isinstance(p, Prefixes)), None)

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint; 1 for the cheapest."""
        cached = query.cached
        costs, waits, works = self.reckoner.costs(
            query.request.prompt_tokens,
            cached,
            endpoints,
            query.now,
            adapter=adapter_of(query.candidate.model, endpoints),
            marks=_marks(query),
        )
        query.details = {
            "wait_s": waits,
            "prefill_s": works,
            "cached_tokens": [cached.get(e, 0) for e in endpoints] if cached else [0] * len(endpoints),
            "in_flight": [e.inflight_requests for e in endpoints],
        }
        least = min(costs)
        if least > 0:
            return [least / cost for cost in costs]
        return [least / cost if cost > 0 else 1.0 for cost in costs]

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """Tell the ledger what the request takes there, and which prefixes it shares."""
        Learner.picked(self, query, endpoint)
        assert query.cost is not None
        query.cost.prefixes = _marks(query)

    def wait_s(self, query: Query, endpoint: Endpoint) -> float:
        """Until the endpoint begins with this prompt (an `Outlook`, by which a request may leave a busy model)."""
        return self.begins_s(query, endpoint)

    def first_token_s(self, query: Query, endpoint: Endpoint) -> float:
        """That, and its own prompt less what is cached there."""
        work = shape_of(query.request.prompt_tokens, query.cached.get(endpoint, 0))
        return self.wait_s(query, endpoint) + self.reckoner.speed(endpoint).seconds(work)


def _marks(query: Query) -> Sequence[int]:
    """Of the prompt, where it was looked up by its hashes."""
    return marks_of(query.request, query.candidate.model) if query.hashed else ()
