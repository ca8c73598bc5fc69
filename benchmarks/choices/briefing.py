"""What an operator knows of the models before the first request, and what every rule here is given.

Must stay true: everything but `asked` comes from questions that nobody asks in the run; `asked` is for the oracle and
for the table of signals only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.workloads.workload import Question

WILLING = 3.0
"""GPU-seconds that a right answer is worth: with our fleet's models, each is then first in about a third of the
questions. Less sends nothing to the largest model, more sends all."""


@dataclass(slots=True, frozen=True)
class Briefing:
    """`accuracy` by category and model, `overall` by model, 0 to 1; `gpu_s` is what an answer of a model takes."""

    models: Sequence[str]
    accuracy: Mapping[str, Mapping[str, float]]
    overall: Mapping[str, float]
    gpu_s: Mapping[str, float]
    asked: Mapping[str, Question]
    """By text."""

    def utility(self, category: str, model: str) -> float:
        """RouterBench's (arXiv 2403.12031, section 3) linear score: the worth of being right, less the cost."""
        return WILLING * self.accuracy[category][model] - self.gpu_s[model]


def brief(
    models: Sequence[str], studied: Iterable[Question], asked: Iterable[Question], gpu_s: Mapping[str, float]
) -> Briefing:
    """From the questions that were studied."""
    by_category: dict[str, list[Question]] = defaultdict(list)
    for question in studied:
        by_category[question.category].append(question)
    every = [question for questions in by_category.values() for question in questions]
    return Briefing(
        models,
        {category: _accuracy(models, questions) for category, questions in sorted(by_category.items())},
        _accuracy(models, every),
        gpu_s,
        {question.text: question for question in asked},
    )


def _accuracy(models: Sequence[str], questions: Sequence[Question]) -> dict[str, float]:
    return {model: sum(q.answers[model].right for q in questions) / len(questions) for model in models}
