"""Text as hashed features for the linear classifiers of tier 0. The same functions serve training and use.

Pure arithmetic on what is given: no state, the same hash on every machine. Work is bounded by the text kept.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

import numpy as np
import numpy.typing as npt

WORD_BUCKETS = 1 << 16
CHARACTER_BUCKETS = 1 << 15
WORDS_MAX = 160
"""Words looked at: half from the head, half from the tail of the text. Costs about a quarter of a microsecond each."""
PIECES_MAX = 256
"""Word pieces looked at, half from each end."""
LETTERS_MAX = 400
"""Characters looked at for the language, from the head of the text."""
STEM_CHARACTERS = 5
_WORD_CHARACTERS_KEPT = 12 * WORDS_MAX
_WORD = re.compile(r"[^\W_]+|[^\w\s]")
_DIGITS = re.compile(r"[0-9]+")
_PRIME = np.uint32(16777619)

Buckets = npt.NDArray[np.int64]


def kept_bytes(text: str) -> int:
    """How much of the text, in bytes of UTF-8, the word features can have seen."""
    return len(kept_text(text).encode(errors="replace"))


def kept_pieces(pieces: Sequence[int]) -> Buckets:
    """The word pieces looked at: all, or half of PIECES_MAX from each end."""
    if len(pieces) > PIECES_MAX:
        pieces = [*pieces[: PIECES_MAX // 2], *pieces[-PIECES_MAX // 2 :]]
    return np.array(pieces, dtype=np.int64)


def word_buckets(text: str) -> Buckets:
    """One bucket for each word, pair of words, and beginning of a word, in lower case; numbers count by length."""
    words = _WORD.findall(kept_text(text).lower())
    if len(words) > WORDS_MAX:
        words = words[: WORDS_MAX // 2] + words[-WORDS_MAX // 2 :]
    encoded = [word.encode(errors="replace") if word.isalpha() else _plain(word) for word in words]
    out = [crc32(word) for word in encoded]
    out += [crc32(b"~" + word[:STEM_CHARACTERS]) for word in encoded if len(word) > STEM_CHARACTERS]
    out += [crc32(first + b" " + second) for first, second in pairwise(encoded)]
    return np.array(out, dtype=np.int64) & (WORD_BUCKETS - 1)


def character_buckets(text: str) -> Buckets:
    """One bucket for each run of one to four characters, in lower case, digits left out."""
    cleaned = f" {_DIGITS.sub(' ', text[:LETTERS_MAX]).lower()} "
    points = np.frombuffer(cleaned.encode("utf-32-le", errors="replace"), dtype=np.uint32)
    parts = []
    running = np.full(len(points), 2166136261, dtype=np.uint32)
    for length in range(1, 5):
        if len(points) < length:
            break
        running = (running[: len(points) - length + 1] ^ points[length - 1 :]) * _PRIME
        parts.append((running ^ (running >> np.uint32(15))) & np.uint32(CHARACTER_BUCKETS - 1))
    return np.concatenate(parts).astype(np.int64)


def kept_text(text: str) -> str:
    """The head and the tail of a text too long to look at whole."""
    if len(text) <= _WORD_CHARACTERS_KEPT:
        return text
    half = _WORD_CHARACTERS_KEPT // 2
    return f"{text[:half]} {text[-half:]}"


def _plain(word: str) -> bytes:
    return b"0" * min(len(word), 6) if word.isdigit() else word.encode(errors="replace")
