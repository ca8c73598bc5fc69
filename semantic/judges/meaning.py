"""Embedding signals: how near the prompt is to phrases of the configuration, whose vectors are made at its load."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from semantic.judges.known import Declared, Known
from semantic.rules import NO, UNKNOWN, Key, Verdict, yes
from semantic.signals.api import EMBEDDING, Vectors

Aggregation = Literal["max", "mean", "any"]
LEVELS = ("easy", "medium", "hard")


@dataclass(eq=False)
class Phrases:
    """Phrases and their vectors, one a row: None until they are made, and where nothing embeds."""

    texts: tuple[str, ...]
    vectors: Vectors | None = None


@dataclass(frozen=True, eq=False)
class Embedding(Declared):
    """The prompt is near to these phrases."""

    phrases: Phrases
    threshold: float
    aggregation: Aggregation = "max"

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return ("embedding", self.name)

    @property
    def needs(self) -> frozenset[str]:
        """The prompt's vector."""
        return frozenset({EMBEDDING})

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """Holds with the cosine as its confidence."""
        near = nearness(known, self.phrases, self.aggregation)
        verdict = UNKNOWN if near is None else yes(min(1.0, near)) if near >= self.threshold else NO
        yield self.key, verdict


@dataclass(frozen=True, eq=False)
class Complexity(Declared):
    """The prompt is nearer to hard examples than to easy ones, by more than the threshold, or the other way round."""

    hard: Phrases
    easy: Phrases
    threshold: float
    levels: tuple[str, ...] = field(default=LEVELS)

    @property
    def key(self) -> Key:
        """Without the level that conditions add."""
        return ("complexity", self.name)

    @property
    def needs(self) -> frozenset[str]:
        """The prompt's vector."""
        return frozenset({EMBEDDING})

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """One of `name:easy`, `name:medium` and `name:hard` holds."""
        hard, easy = nearness(known, self.hard, "max"), nearness(known, self.easy, "max")
        if hard is None or easy is None:
            return
        apart = hard - easy
        found = "hard" if apart > self.threshold else "easy" if apart < -self.threshold else "medium"
        for level in self.levels:
            yield ("complexity", f"{self.name}:{level}"), yes(min(1.0, abs(apart))) if level == found else NO


def nearness(known: Known, phrases: Phrases, aggregation: Aggregation) -> float | None:
    """The largest cosine, or the mean of all; None where either side has no vector."""
    if known.seen.embedding is None or phrases.vectors is None:
        return None
    cosines = phrases.vectors @ known.seen.embedding
    return float(cosines.mean() if aggregation == "mean" else cosines.max())
