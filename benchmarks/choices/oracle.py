"""Knows every answer: the cheapest model that is right, or the cheapest of all where none is.

Source: the oracle of RouterBench (arXiv 2403.12031, section 3). It knows nothing of load, so it bounds quality and
cost, and not latency.
"""

from __future__ import annotations

from benchmarks.choices.briefing import Briefing
from benchmarks.choices.fixed import FixedModel
from epp.domain import Request
from epp.protocol.conversation import conversation


class Oracle(FixedModel):
    """`argmin_m cost(m)` over those that are right."""

    def __init__(self, briefing: Briefing) -> None:
        self._by_cost = sorted(briefing.models, key=lambda model: briefing.gpu_s[model])
        self._asked = briefing.asked

    def model(self, request: Request) -> str:
        """By what is known of the question."""
        answers = self._asked[conversation(request)[-1][1]].answers
        return next((model for model in self._by_cost if answers[model].right), self._by_cost[0])
