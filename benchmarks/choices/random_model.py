"""Any model with equal chance: RouteLLM's baseline (arXiv 2406.18665), which a router must beat at its own cost."""

from __future__ import annotations

from random import Random

from benchmarks.choices.briefing import Briefing
from benchmarks.choices.fixed import FixedModel
from epp.domain import Request


class RandomModel(FixedModel):
    """Uniform."""

    def __init__(self, briefing: Briefing, rng: Random) -> None:
        self._models, self._rng = briefing.models, rng

    def model(self, request: Request) -> str:
        """Drawn for each request."""
        return self._rng.choice(self._models)
