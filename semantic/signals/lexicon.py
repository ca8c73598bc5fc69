"""The words of a text as features of tier 0: word pieces for the vectors, hashes for pairs, both from one reading.

Most words of a text are word pieces of their own, so what is known of those is laid out once, at the start. Other words
are worked out each time: nothing of a text is kept. `word_buckets` and `word_pieces` say the same one after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from zlib import crc32

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.signals.ngrams import WORD_BUCKETS, bytes_of_word, kept_words, stem_of_word

Buckets = npt.NDArray[np.int64]
_LAST = WORD_BUCKETS - 1


@dataclass(frozen=True, slots=True)
class Read:
    """A text's words: rows of known words and of word pieces, and the buckets that have to be looked up one by one.

    The buckets are those of all pairs, and of words that are not known with their beginnings.
    """

    rows: Buckets
    buckets: Buckets


class Lexicon:
    """The whole words of a tokenizer's vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Some tens of milliseconds."""
        self._tokenizer = tokenizer
        self._model = tokenizer.model
        # In the order of their numbers, which is by how common they are: common words then share lines of the cache.
        listed = sorted(tokenizer.get_vocab().items(), key=itemgetter(1))
        vocabulary = {"".join(piece): n for piece, n in listed}
        words = [w for w in vocabulary if (w.isalnum() or (len(w) == 1 and w != "_")) and w == w.lower()]
        encoded = [bytes_of_word(word) for word in words]
        self._places = {word: n for n, word in enumerate(words)}
        self.pieces: Buckets = np.array([vocabulary[word] for word in words], dtype=np.int64)
        """The piece of each known word."""
        self.words: Buckets = np.array([crc32(b) for b in encoded], dtype=np.int64) & (WORD_BUCKETS - 1)
        """The bucket of each known word."""
        self.stems: Buckets = np.array([_stem_bucket(b) for b in encoded], dtype=np.int64)
        """The bucket of its beginning, or -1 where it is too short for one."""
        self._pairs = _Pairs(encoded)

    def read(self, text: str) -> Read:
        """What tier 0 looks at; bounded by WORDS_MAX. A row is a known word's place, or that of a piece behind those.

        A word that is not known has the row -1, for nothing, and rows for its pieces.
        """
        words = kept_words(text)
        rows = list(map(self._places.get, words, repeat(-1)))
        unknown = rows.count(-1)
        if not unknown:
            places = np.fromiter(rows, np.int64, len(rows))
            return Read(places, self._pairs.buckets(places[:-1], places[1:]))
        strange: list[str] = []
        alone: list[int] = []
        pairs: list[tuple[int, int]] = []
        n = -1
        for _ in range(unknown):
            n = rows.index(-1, n + 1)
            strange.append(words[n])
            raw = bytes_of_word(words[n])
            stem = stem_of_word(raw)
            alone.append(crc32(raw) & _LAST)
            if stem is not None:
                alone.append(crc32(stem) & _LAST)
            if n:
                pairs.append((n - 1, crc32(bytes_of_word(words[n - 1]) + b" " + raw) & _LAST))
            if n + 1 < len(words):
                pairs.append((n, crc32(raw + b" " + bytes_of_word(words[n + 1])) & _LAST))
        first_piece = len(self.words)
        rows += [first_piece + piece for piece in self._pieces_of(strange)]
        places = np.fromiter(rows, np.int64, len(rows))
        buckets = self._pairs.buckets(places[: len(words) - 1], places[1 : len(words)], alone)
        for at, pair in pairs:
            buckets[at] = pair  # what the tables say there is of another word
        return Read(places, buckets)

    def word_pieces(self, text: str) -> Buckets:
        """The word pieces of all kept words: what training counts."""
        return np.array(self._pieces_of(kept_words(text)), dtype=np.int64)

    def _pieces_of(self, words: Sequence[str]) -> list[int]:
        """The word pieces of some lower-case words, in no order.

        A word of ASCII needs nothing but the tokenizer's model; the others lose their accents first, together.
        """
        pieces: list[int] = []
        others: list[str] = []
        for word in words:
            if word.isascii():
                pieces += [token.id for token in self._model.tokenize(word)]
            else:
                others.append(word)
        if others:
            # A lone surrogate (half of a \\u pair in JSON) is no character that a tokenizer takes.
            text = " ".join(others).encode(errors="replace").decode()
            pieces += self._tokenizer.encode(text, add_special_tokens=False).ids
        return pieces


class _Pairs:
    """The buckets of pairs of known words, from what is known of each: no pair is hashed anew.

    A CRC is linear (as zlib's `crc32_combine` has it): that of two texts in a row is the second's, and the first's
    moved on by as many bytes as the second has. How that of each word moves on by each length is laid out.
    """

    def __init__(self, encoded: Sequence[bytes]) -> None:
        longest = max(map(len, encoded), default=0)
        self._second = np.array([crc32(word) & _LAST for word in encoded], dtype=np.uint16)
        self._lengths = np.array([len(word) for word in encoded], dtype=np.int64)
        self._strides = longest + 1
        spaced = np.array([crc32(b" ", crc32(word)) for word in encoded], dtype="<u4").view(np.uint8).reshape(-1, 4)
        # Buckets have 16 bits: a megabyte for 23,000 words.
        self._moved = np.zeros((len(encoded), self._strides), np.uint16)
        for length, zeros in enumerate(map(bytes, range(self._strides))):
            for place in range(4):
                moved = [(crc32(zeros, byte << 8 * place) ^ crc32(zeros)) & _LAST for byte in range(256)]
                self._moved[:, length] ^= np.array(moved, np.uint16)[spaced[:, place]]

    def buckets(self, first: Buckets, second: Buckets, more: Sequence[int] = ()) -> Buckets:
        """Of each word with the one beside it, by their places; and behind those some more."""
        out = np.empty(len(first) + len(more), np.int64)
        at = first * self._strides
        at += self._lengths.take(second)
        np.bitwise_xor(self._moved.take(at), self._second.take(second), out=out[: len(first)])
        if more:
            out[len(first) :] = more
        return out


def _stem_bucket(encoded: bytes) -> int:
    stem = stem_of_word(encoded)
    return -1 if stem is None else crc32(stem) & (WORD_BUCKETS - 1)
