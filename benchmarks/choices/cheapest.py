"""The model whose answer takes the fewest GPU-seconds answers every question.

Source: the weak end of RouteLLM's cost axis (arXiv 2406.18665); `cost-scorer` of llm-d's payload processor.
"""

from __future__ import annotations

from benchmarks.choices.briefing import Briefing
from benchmarks.choices.fixed import FixedModel
from epp.domain import Request


class Cheapest(FixedModel):
    """`argmin_m cost(m)`."""

    def __init__(self, briefing: Briefing) -> None:
        self._model = min(briefing.models, key=lambda model: briefing.gpu_s[model])

    def model(self, request: Request) -> str:
        """Always the same."""
        return self._model
