"""Prefer endpoints that have the request's LoRA adapter at hand, then those that have room for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from epp.domain import Endpoint, Load
from epp.scheduling.framework import Query, Scorer

ACTIVE, ROOM, WAITING, NONE = 1.0, 0.8, 0.6, 0.0


@dataclass(slots=True)
class LoraAffinityScorer(Scorer):
    """1 where the adapter runs, 0.8 where there is room for one more, 0.6 where it is waited for, else 0 (llm-d)."""

    type: ClassVar[str] = "lora-affinity-scorer"
    differs: ClassVar[str] = "An endpoint that says nothing of adapters has room, as far as anybody knows: 0.8."

    def score(self, query: Query, endpoints: Sequence[Endpoint]) -> list[float]:
        """One score per endpoint from the sampled adapters; the model considered is the adapter's name."""
        model = query.candidate.model or ""
        return [_score(e.load, model) for e in endpoints]


def _score(load: Load | None, model: str) -> float:
    lora = None if load is None else load.lora
    if lora is None:
        return ROOM
    if model in lora.running:
        return ACTIVE
    if lora.adapters_max is None or len(lora.running | lora.waiting) < lora.adapters_max:
        return ROOM
    return WAITING if model in lora.waiting else NONE
