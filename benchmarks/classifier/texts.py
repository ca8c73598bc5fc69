"""Texts to read: a user's turn, and random words of about so many tokens, no two alike."""

from collections.abc import Iterator
from random import Random

TURN_BYTES = 1024
TURN = 4 * (
    "I have a small shop and I would like to know how the interest rates that the central bank sets change what my "
    "customers can pay for a new kitchen, and whether I should lower my prices now or wait until spring. My "
    "accountant, who has been with us for ten years, says that we should keep them, but the numbers of the last "
    "quarter do not look good at all. "
)
STORE_WORDS = 200_000
WORDS = (
    *(
        "please",
        "explain",
        "how",
        "the",
        "price",
        "of",
        "a",
        "house",
        "depends",
        "on",
        "interest",
        "rates",
        "and",
        "why",
    ),
    *("banks", "lend", "less", "when", "economy", "slows", "write", "short", "function", "that", "sorts", "numbers"),
    *("tell", "me", "what", "could", "go", "wrong", "with", "very", "large", "lists", "data"),
)


def texts_of(tokens: int) -> Iterator[str]:
    """Endless, and the same each time; no two share a piece. Tier 0 is rarely sure of them."""
    rng = Random(tokens)
    # Cut out of one long text: making each anew would take longer than reading it.
    store = " ".join(rng.choices(WORDS, k=STORE_WORDS))
    length = len(store) * (tokens - 2) // STORE_WORDS
    while True:
        start = rng.randrange(len(store) - length)
        yield store[start : start + length]
