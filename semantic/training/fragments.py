"""Texts without a label, which only a teacher can say anything of: pieces of training texts, and words alone."""

from collections.abc import Sequence
from random import Random
from typing import Any

QUESTIONS = (
    "{}",
    "what is {}?",
    "tell me about {}",
    "how does {} work?",
    "the {}",
    "what does {} mean in this context?",
)
TIMES = 2


def pieces(texts: Sequence[str], count: int, rng: Random) -> list[str]:
    """Runs of 2 to 16 words of the texts."""
    out = []
    for text in rng.choices(texts, k=count):
        words = text.split()
        size = rng.randint(2, 16)
        at = rng.randrange(max(1, len(words) - size + 1))
        out.append(" ".join(words[at : at + size]))
    return out


def words_alone(tokenizer: Any, rng: Random) -> list[str]:
    """Every word of the vocabulary in a question or two, most of which no training text has."""
    found = [w for w in tokenizer.get_vocab() if w.isalpha() and w.isascii() and len(w) > 2]
    found.sort()
    return [rng.choice(QUESTIONS).format(word) for word in found for _ in range(TIMES)]
