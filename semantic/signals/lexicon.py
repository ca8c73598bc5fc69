"""The words of a text as features of tier 0: word pieces for the vectors, hashes for pairs, both from one reading.

Most words of a text are word pieces of their own, so what is known of those is laid out once, at the start. Other words
are worked out each time: nothing of a text is kept. `word_buckets` and `word_pieces` say the same one after another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from zlib import crc32

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.signals.ngrams import WORD_BUCKETS, bytes_of_word, kept_words, stem_of_word

Buckets = npt.NDArray[np.int64]
_TOLD_BY = 3
"""Characters of a piece that tell how long it can be at most."""
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
        # In the order of their numbers, which is by how common they are: common words then share lines of the cache.
        listed = sorted(tokenizer.get_vocab().items(), key=itemgetter(1))
        self._vocabulary: Mapping[str, int] = {"".join(piece): n for piece, n in listed}
        inner = {piece[2:]: n for piece, n in listed if piece.startswith("##")}
        self._starts, self._inner = _Pieces.of(self._vocabulary), _Pieces.of(inner)
        self._unknown = [self._vocabulary.get("[UNK]", 0)]
        words = [w for w in self._vocabulary if (w.isalnum() or (len(w) == 1 and w != "_")) and w == w.lower()]
        encoded = [bytes_of_word(word) for word in words]
        self._places = {word: n for n, word in enumerate(words)}
        self.pieces: Buckets = np.array([self._vocabulary[word] for word in words], dtype=np.int64)
        """The piece of each known word."""
        self.words: Buckets = np.array([crc32(b) for b in encoded], dtype=np.int64) & (WORD_BUCKETS - 1)
        """The bucket of each known word."""
        self.stems: Buckets = np.array([_stem_bucket(b) for b in encoded], dtype=np.int64)
        """The bucket of its beginning, or -1 where it is too short for one."""
        self._sizes: Buckets = 1 + (self.stems >= 0)
        self._pairs = _Pairs(encoded)

    def read(self, text: str) -> Read:
        """What tier 0 looks at; bounded by WORDS_MAX."""
        words = kept_words(text)
        places = list(map(self._places.get, words, repeat(-1)))
        known = np.array(places, dtype=np.int64)
        first, second = known[:-1], known[1:]
        buckets: list[int] = []
        pieces: list[int] = []
        if -1 in places:
            for n, word in enumerate(words):
                if places[n] < 0:
                    buckets += self._alone(words, places, n)
                    pieces += self.pieces_of_word(word)
            both = (first >= 0) & (second >= 0)
            first, second, known = first[both], second[both], known[known >= 0]
        pairs = self._pairs.buckets(first, second)
        if buckets:
            pairs = np.concatenate([pairs, np.array(buckets, dtype=np.int64) & (WORD_BUCKETS - 1)])
        return Read(
            known,
            pairs,
            np.array(pieces, dtype=np.int64),
            len(pairs) + int(self._sizes.take(known).sum()),
            len(known) + len(pieces),
        )

    def _alone(self, words: Sequence[str], places: Sequence[int], n: int) -> Iterator[int]:
        """Hashes of a word that is not known, of its beginning, and of its pairs with both neighbours."""
        raw = bytes_of_word(words[n])
        stem = stem_of_word(raw)
        yield crc32(raw)
        if stem is not None:
            yield crc32(stem)
        if n and places[n - 1] >= 0:  # else the word before has told of the pair
            yield crc32(bytes_of_word(words[n - 1]) + b" " + raw)
        if n + 1 < len(words):
            yield crc32(raw + b" " + bytes_of_word(words[n + 1]))

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
        start, pieces = 0, self._starts
        while start < len(word):
            reach = pieces.reach.get(word[start : start + _TOLD_BY], _TOLD_BY - 1)
            for end in range(min(len(word), start + reach), start, -1):
                piece = pieces.numbers.get(word[start:end])
                if piece is not None:
                    break
            else:
                return self._unknown
            out.append(piece)
            start, pieces = end, self._inner
        return out


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Word pieces that begin words, or that go on with them."""

    numbers: Mapping[str, int]
    reach: Mapping[str, int]
    """Characters of the longest that begins so."""

    @classmethod
    def of(cls, numbers: Mapping[str, int]) -> "_Pieces":
        reach: dict[str, int] = {}
        for piece in numbers:
            if len(piece) >= _TOLD_BY:
                reach[piece[:_TOLD_BY]] = max(len(piece), reach.get(piece[:_TOLD_BY], 0))
        return cls(numbers, reach)


class _Pairs:
    """The buckets of pairs of known words, from what is known of each: no pair is hashed anew.

    A CRC is linear (as zlib's `crc32_combine` has it): that of two texts in a row is the second's, and the first's
    moved on by as many bytes as the second has. How each byte of the first moves on by each length is tabulated.
    """

    def __init__(self, encoded: Sequence[bytes]) -> None:
        longest = max(map(len, encoded), default=0)
        assert (longest + 1) << 10 <= 1 << 16, "places in the table fit into 16 bits"
        self._second: Buckets = np.array([crc32(word) for word in encoded], dtype=np.int64) & (WORD_BUCKETS - 1)
        self._lengths = np.array([len(word) << 10 for word in encoded], dtype=np.uint16)
        spaced = np.array([crc32(b" ", crc32(word)) for word in encoded], dtype="<u4")
        self._first = spaced.view(np.uint8).reshape(-1, 4) + (np.arange(4, dtype=np.uint16) << 8)
        self._moved = np.array(
            [
                (crc32(zeros, byte << place) ^ crc32(zeros)) & (WORD_BUCKETS - 1)
                for zeros in map(bytes, range(longest + 1))
                for place in (0, 8, 16, 24)
                for byte in range(256)
            ],
            dtype=np.int64,
        )

    def buckets(self, first: Buckets, second: Buckets) -> Buckets:
        """Of each word with the one beside it, by their places."""
        at = self._first.take(first, axis=0)
        at += self._lengths.take(second)[:, None]
        moved = self._moved.take(at)
        return moved[:, 0] ^ moved[:, 1] ^ moved[:, 2] ^ moved[:, 3] ^ self._second.take(second)


def _stem_bucket(encoded: bytes) -> int:
    stem = stem_of_word(encoded)
    return -1 if stem is None else crc32(stem) & (WORD_BUCKETS - 1)
