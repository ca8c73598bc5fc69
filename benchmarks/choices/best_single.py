"""The model with the best accuracy over all questions answers every one: what routing must beat on quality or cost.

Source: the "best single model" of RouterBench (arXiv 2403.12031) and of RouteLLM's strong model (arXiv 2406.18665).
"""

from __future__ import annotations

from benchmarks.choices.briefing import Briefing
from benchmarks.choices.fixed import FixedModel
from epp.domain import Request


class BestSingle(FixedModel):
    """`argmax_m accuracy(m)`."""

    def __init__(self, briefing: Briefing) -> None:
        self._model = max(briefing.models, key=lambda model: briefing.overall[model])

    def model(self, request: Request) -> str:
        """Always the same."""
        return self._model
