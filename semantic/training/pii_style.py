"""Puts personal data of the training rows into other surroundings. Drawn from a `Random` the caller seeds."""

import re
from collections.abc import Sequence
from pathlib import Path
from random import Random

import yaml

from semantic.training.tasks import Example, Span

PHRASES = Path(__file__).with_name("pii_style.yaml")
SOURCE = "onehop-pii-style"
_HOLE = re.compile(r"\{([A-Z_]+)\}|\{\{|\}\}")


class Filler:
    """Fills sentences of our own, and exchanges values in sentences of the data, with values of the training rows."""

    def __init__(self, examples: Sequence[Example]) -> None:
        """Collects the values by type."""
        values: dict[str, set[str]] = {}
        for example in examples:
            for start, end, kind in example.spans:
                values.setdefault(kind, set()).add(example.text[start:end])
        self._values = {kind: sorted(found) for kind, found in values.items()}
        phrases = yaml.safe_load(PHRASES.read_text(encoding="utf-8"))
        self._filled: list[str] = [s for s in phrases["filled"] if self._can_fill(s)]
        self._unfilled: list[str] = phrases["unfilled"]

    def _can_fill(self, sentence: str) -> bool:
        return all(hole[1] in self._values for hole in _HOLE.finditer(sentence) if hole[1])

    def draw(self, rng: Random) -> Example:
        """A sentence of our own; a seventh hold no personal data."""
        if rng.random() < 1 / 7:
            return Example("pii", rng.choice(self._unfilled), -1, SOURCE)
        text, spans = "", []
        at = 0
        sentence = rng.choice(self._filled)
        for hole in _HOLE.finditer(sentence):
            text += sentence[at : hole.start()]
            at = hole.end()
            kind = hole[1]
            if kind is None:
                text += hole[0][0]
                continue
            value = rng.choice(self._values[kind])
            spans.append((len(text), len(text) + len(value), kind))
            text += value
        return Example("pii", text + sentence[at:], -1, SOURCE, tuple(spans))

    def exchanged(self, example: Example, rng: Random) -> Example:
        """The same sentence with other values of the same types."""
        text, at = "", 0
        spans: list[Span] = []
        for start, end, kind in sorted(example.spans):
            text += example.text[at:start]
            value = rng.choice(self._values[kind]) if rng.random() < 0.7 else example.text[start:end]
            spans.append((len(text), len(text) + len(value), kind))
            text += value
            at = end
        return Example("pii", text + example.text[at:], -1, example.source, tuple(spans))


def lowered(example: Example) -> Example:
    """The same text in lower case, where that keeps every place."""
    text = example.text.lower()
    if len(text) != len(example.text):
        return example
    return Example("pii", text, -1, example.source, example.spans)
