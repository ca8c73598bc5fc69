"""The words of a text as features of tier 0: word pieces for the vectors, hashes for pairs, both from one reading.

Most words of a text are word pieces of their own, so what is known of those is laid out once, at the start. Other words
are worked out each time: nothing of a text is kept. `word_buckets` and `word_pieces` say the same one after another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.signals.ngrams import WORD_BUCKETS, bytes_of_word, kept_words, stem_of_word

Buckets = npt.NDArray[np.int64]
_LONGEST = 100
"""Characters of a word that a word-piece tokenizer takes; a longer one is unknown to it."""


@dataclass(frozen=True, slots=True)
class Read:
    """A text's words: places of the known ones, and buckets and word pieces that have to be looked up one by one."""

    known: Buckets
    buckets: Buckets
    pieces: Buckets
    buckets_total: int
    pieces_total: int


class Lexicon:
    """The whole words of a tokenizer's vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Some tens of milliseconds."""
        self._tokenizer = tokenizer
        self._vocabulary: Mapping[str, int] = tokenizer.get_vocab()
        self._unknown = [self._vocabulary.get("[UNK]", 0)]
        words = [w for w in self._vocabulary if (w.isalnum() or (len(w) == 1 and w != "_")) and w == w.lower()]
        encoded = [bytes_of_word(word) for word in words]
        self._known = {w: (n, b, crc32(b" ", crc32(b))) for n, (w, b) in enumerate(zip(words, encoded, strict=True))}
        self.pieces: Buckets = np.array([self._vocabulary[word] for word in words], dtype=np.int64)
        """The piece of each known word."""
        self.words: Buckets = np.array([crc32(b) for b in encoded], dtype=np.int64) & (WORD_BUCKETS - 1)
        """The bucket of each known word."""
        self.stems: Buckets = np.array([_stem_bucket(b) for b in encoded], dtype=np.int64)
        """The bucket of its beginning, or -1 where it is too short for one."""
        self._sizes: Buckets = 1 + (self.stems >= 0)

    def read(self, text: str) -> Read:
        """What tier 0 looks at; bounded by WORDS_MAX."""
        words = kept_words(text)
        found = list(map(self._known.get, words))
        buckets: list[int] = []
        pieces: list[int] = []
        if None in found:
            for n, word in enumerate(words):
                if found[n] is None:
                    raw = bytes_of_word(word)
                    stem = stem_of_word(raw)
                    own = crc32(raw)
                    found[n] = (-1, raw, crc32(b" ", own))
                    buckets += [own] if stem is None else [own, crc32(stem)]
                    pieces += self.pieces_of_word(word)
        numbers, encoded, spaced = zip(*found, strict=True) if found else ((), (), ())
        places = np.array(numbers, dtype=np.int64)
        if buckets:
            places = places[places >= 0]
        buckets += map(crc32, encoded[1:], spaced)
        return Read(
            places,
            np.array(buckets, dtype=np.int64) & (WORD_BUCKETS - 1),
            np.array(pieces, dtype=np.int64),
            len(buckets) + int(self._sizes.take(places).sum()),
            len(places) + len(pieces),
        )

    def word_pieces(self, text: str) -> Buckets:
        """The word pieces of all kept words, in order: what training counts."""
        return np.array([piece for word in kept_words(text) for piece in self.pieces_of_word(word)], dtype=np.int64)

    def pieces_of_word(self, word: str) -> Sequence[int]:
        """The word pieces of one lower-case word."""
        if not word.isascii():
            # A lone surrogate (half of a \\u pair in JSON) is no character the tokeniser could take.
            ids: Sequence[int] = self._tokenizer.encode(
                word.encode(errors="replace").decode(), add_special_tokens=False
            ).ids
            return ids
        return self._longest_first(word)

    def _longest_first(self, word: str) -> list[int]:
        """WordPiece: the longest piece that is in the vocabulary, again and again (Wu et al., 2016)."""
        if len(word) > _LONGEST:
            return self._unknown
        out: list[int] = []
        start, mark = 0, ""
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = self._vocabulary.get(mark + word[start:end])
                if piece is not None:
                    break
            else:
                return self._unknown
            out.append(piece)
            start, mark = end, "##"
        return out


def _stem_bucket(encoded: bytes) -> int:
    stem = stem_of_word(encoded)
    return -1 if stem is None else crc32(stem) & (WORD_BUCKETS - 1)
