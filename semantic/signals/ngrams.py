"""Text as hashed features for the linear classifiers of tier 0. The same functions serve training and use.

Pure arithmetic on what is given: no state, the same hash on every machine. Work is bounded by the text kept.
"""

import re
from itertools import pairwise
from zlib import crc32

import numpy as np
import numpy.typing as npt

WORD_BUCKETS = 1 << 16
CHARACTER_BUCKETS = 1 << 15
WORDS_MAX = 160
"""Words looked at: half from the head, half from the tail of the text. Costs about a quarter of a microsecond each."""
LETTERS_MAX = 256
"""Characters looked at for the language, from the head of the text."""
STEM_CHARACTERS = 5
_WORD_CHARACTERS_KEPT = 12 * WORDS_MAX
_WORD = re.compile(r"[^\W_]+|[^\w\s]")
_MARKS = "".join(c for c in map(chr, range(128)) if not (c.isalnum() or c.isspace() or c == "_"))
"""What `_WORD` takes for a word of one character, in ASCII."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_OTHER_MARKS_MAX = 8
"""More kinds of marks beyond ASCII are left to the pattern: each kind is a walk through the text."""
_DIGITS = re.compile(r"[0-9]+")
RUN_CHARACTERS_MAX = 4
_BASIS, _PRIME = np.uint32(2166136261), np.uint32(16777619)
_FOLD, _LAST_BUCKET = np.uint32(15), np.uint32(CHARACTER_BUCKETS - 1)

Buckets = npt.NDArray[np.int64]


def kept_bytes(text: str) -> int:
    """How much of the text, in bytes of UTF-8, the word features can have seen."""
    return bytes_of(kept_text(text))


def bytes_of(text: str) -> int:
    """The length in bytes of UTF-8; half a surrogate pair counts as the question mark that stands in for it."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def kept_words(text: str) -> list[str]:
    """The words and marks looked at, in lower case: all, or half of WORDS_MAX from each end."""
    words = _words(kept_text(text).lower())
    if len(words) > WORDS_MAX:
        return words[: WORDS_MAX // 2] + words[-WORDS_MAX // 2 :]
    return words


def _words(text: str) -> list[str]:
    """As `_WORD` finds them, by plain splitting, which takes a fifth of the time."""
    marks = _MARKS
    if not text.isascii():
        others = {c for run in _NOT_ASCII.findall(text) for c in run if not (c.isalnum() or c.isspace())}
        if len(others) > _OTHER_MARKS_MAX:
            return _WORD.findall(text)
        marks += "".join(others)
    for mark in marks:
        if mark in text:
            text = text.replace(mark, f" {mark} ")
    return text.replace("_", " ").split()


def word_buckets(text: str) -> Buckets:
    """One bucket for each word, beginning of a word, and pair of words; numbers count by length."""
    encoded = [bytes_of_word(word) for word in kept_words(text)]
    out = [crc32(word) for word in encoded]
    out += [crc32(stem) for stem in map(stem_of_word, encoded) if stem is not None]
    out += [crc32(first + b" " + second) for first, second in pairwise(encoded)]
    return np.array(out, dtype=np.int64) & (WORD_BUCKETS - 1)


def bytes_of_word(word: str) -> bytes:
    """What is hashed of a word: itself, and of a number only how long it is."""
    return b"0" * min(len(word), 6) if word.isdigit() else word.encode(errors="replace")


def stem_of_word(encoded: bytes) -> bytes | None:
    """What is hashed of a long word's beginning."""
    return b"~" + encoded[:STEM_CHARACTERS] if len(encoded) > STEM_CHARACTERS else None


def character_buckets(text: str) -> Buckets:
    """One bucket for each run of one to four characters, in lower case, digits left out."""
    cleaned = f" {_DIGITS.sub(' ', text[:LETTERS_MAX]).lower()} "
    points = np.frombuffer(cleaned.encode("utf-32-le", errors="replace"), dtype=np.uint32)
    counts = [len(points) - longer for longer in range(min(RUN_CHARACTERS_MAX, len(points)))]
    hashes = np.empty(sum(counts), dtype=np.uint32)
    shorter, at = hashes[: len(points)], 0
    shorter[:] = _BASIS
    for longer, count in enumerate(counts):
        # FNV-1a, one more character at a time, over all places at once.
        run = hashes[at : at + count]
        np.bitwise_xor(shorter[:count], points[longer:], out=run)
        run *= _PRIME
        shorter, at = run, at + count
    hashes ^= hashes >> _FOLD
    hashes &= _LAST_BUCKET
    return hashes.astype(np.int64)


def kept_text(text: str) -> str:
    """The head and the tail of a text too long to look at whole."""
    if len(text) <= _WORD_CHARACTERS_KEPT:
        return text
    half = _WORD_CHARACTERS_KEPT // 2
    return f"{text[:half]} {text[-half:]}"
