"""Predict what a request will meet at each endpoint, for the plugins that go by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from epp.domain import Endpoint
from epp.plugin import duration
from epp.scheduling.framework import Foreseen, Producer, Query
from epp.scheduling.learner import Learner
from epp.scheduling.reckoner import Reckoner, shape_of


@dataclass(slots=True)
class PredictedLatencyProducer(Learner, Producer):
    """To the first token: the prefill outstanding at the endpoint and the prompt's own; from token to token: its pace.

    Own prefill is `a + k * shape(uncached, cached)` seconds; `a` and `k` are learned from every first token, and how
    many times as long each endpoint takes; the pace comes from the engine's counters. Predictions are multiplied by
    `sloBufferFactor`.
    """

    type: ClassVar[str] = "predicted-latency-producer"
    needs: ClassVar[tuple[str, ...]] = ("prefix",)
    makes: ClassVar[tuple[str, ...]] = ("latency",)
    differs: ClassVar[str] = (
        "Speeds are learned in this process; the Go picker asks predictors that are trained beside it. `contextTTL`,"
        " `streamingMode` and `predictInProduce` change nothing, and neither do the predictors' environment variables."
    )
    slo_buffer_factor: float = 1.0
    context_ttl: float = duration(300.0, "contextTTL")
    streaming_mode: bool = False
    predict_in_produce: bool = True
    prefix_match_info_producer_name: str = ""
    reckoner: Reckoner = field(init=False, repr=False, compare=False, default_factory=Reckoner)

    def __post_init__(self) -> None:
        if not self.slo_buffer_factor > 0.0:
            raise ValueError("slo_buffer_factor must be above 0")

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Fills `foreseen` of the query."""
        now, factor, reckoner = query.now, self.slo_buffer_factor, self.reckoner
        foreseen = {}
        for e, (wait_s, _, pace_s) in zip(
            endpoints, reckoner.meets(endpoints, query.request.prompt_tokens, now), strict=True
        ):
            work_s = reckoner.speed(e).seconds(_shape(query, e))
            foreseen[e] = Foreseen((wait_s + work_s) * factor, pace_s * factor if pace_s else None)
        query.foreseen = foreseen


def _shape(query: Query, endpoint: Endpoint) -> float:
    return shape_of(query.request.prompt_tokens, query.cached.get(endpoint, 0))
