"""What the classifier says of each question, from a table that is drawn once: no model runs in virtual time.

The shipped domain head has seen most of the MMLU-Pro questions in its training, and is right about .97 of those. Of the
687 that are in no training file it abstains from .073, and of the others it is right about .870: so often the table is
wrong, whatever the question. A wrong answer is any other category with equal chance; the head's own mistakes are
nearer (`other` and psychology, chemistry and physics), and cost less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.workloads.workload import Question
from semantic.categories import CATEGORIES
from semantic.signals.api import DOMAIN, NOTHING, Answer, Coverage, Seen, Vectors

SURE, UNSURE, THRESHOLD = 0.89, 0.3, 0.5


@dataclass(slots=True, frozen=True)
class Accuracy:
    """Of the answers, the part that is given up, and the part of the others that is right."""

    abstains: float = 0.073
    right: float = 0.870


class TableSignals:
    """A `Signals` that knows a set of texts."""

    provides: Mapping[str, tuple[str, ...]] = {DOMAIN: CATEGORIES}

    def __init__(self, questions: Iterable[Question], accuracy: Accuracy, seed: str = "signals") -> None:
        self._table = {q.text: _seen(q, accuracy, Random(f"{seed} {q.text}")) for q in questions}

    async def see(self, text: str, wanted: frozenset[str], deadline: float) -> Seen:
        """The table's row; a text that is in none is unknown."""
        return self._table.get(text, NOTHING)

    def prepare(self) -> None:
        """Nothing takes long here."""

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        """Nothing here embeds."""
        return None

    def counts(self) -> object:
        """Nothing is counted."""
        return {}

    def close(self) -> None:
        """Nothing is held."""


def _seen(question: Question, accuracy: Accuracy, rng: Random) -> Seen:
    abstains = rng.random() < accuracy.abstains
    label = question.category
    if rng.random() >= accuracy.right:
        label = rng.choice([other for other in CATEGORIES if other != label])
    sure = UNSURE if abstains else SURE
    rest = (1 - sure) / (len(CATEGORIES) - 1)
    likely = {category: sure if category == label else rest for category in CATEGORIES}
    size = len(question.text.encode())
    answer = Answer(label, sure, likely, abstained=abstains, threshold=THRESHOLD)
    return Seen({DOMAIN: answer}, coverage=Coverage(size, size))
