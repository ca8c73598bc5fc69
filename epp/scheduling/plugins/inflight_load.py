"""What an endpoint has in flight. Our ledger always counts it; the plugin says what a request is charged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Cost, Endpoint
from epp.scheduling.framework import Producer, Query


@dataclass(slots=True)
class InflightLoadProducer(Producer):
    """Charges the prompt tokens not cached, and with `addEstimatedOutputTokens` what the answer is expected to have.

    The answer: `outputRatio` times the prompt, at most `maxEstimatedOutputTokens` where that is above 0 (llm-d).
    """

    type: ClassVar[str] = "inflight-load-producer"
    differs: ClassVar[str] = (
        "Tokens in flight are counted also without the plugin. `syncCrossReplicaState` changes nothing: replicas do not"
        " share their state."
    )
    add_estimated_output_tokens: bool = False
    output_ratio: float = 1.5
    max_estimated_output_tokens: int = 0
    prefix_match_info_producer_name: str = ""
    sync_cross_replica_state: bool = True

    def __post_init__(self) -> None:
        if not self.output_ratio >= 0.0:
            raise ValueError("output_ratio must not be negative")
        if self.max_estimated_output_tokens < 0:
            raise ValueError("max_estimated_output_tokens must not be negative")

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Nothing is known before the choice that the ledger does not hold."""

    def picked(self, query: Query, endpoint: Endpoint) -> None:
        """What the ledger is to be charged."""
        if not self.add_estimated_output_tokens:
            return
        prompt = query.request.prompt_tokens
        answer = int(prompt * self.output_ratio)
        if self.max_estimated_output_tokens:
            answer = min(answer, self.max_estimated_output_tokens)
        query.cost = Cost(max(0, prompt - query.cached.get(endpoint, 0)) + answer, prompt + answer)
