"""Tier 0: what words, word pieces and letters alone say. Linear in what is looked at, under a millisecond, no encoder.

Hashed words and pairs add up to logits; the vectors of word pieces are averaged and go through one small layer, which
knows words that no training row had. Tables are int8 with a scale a column (`semantic/training/words.py` makes them).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.reading import ConfigError
from semantic.signals.lexicon import Lexicon
from semantic.signals.ngrams import character_buckets

Array = npt.NDArray[Any]
NAMES = "names"
"""The table that says whether a text may hold personal data without a form, such as names."""
LANGUAGE = "language"
PIECES = ("pieces", "pieces2")
"""Tables of vectors of word pieces. A head reads the first, or the second where it was trained with that one."""


@dataclass(frozen=True, slots=True)
class _Table:
    weight: Array
    scale: Array
    bias: Array

    def logits(self, buckets: Array) -> Array:
        said = summed(self.weight, buckets)
        said *= self.scale / max(len(buckets), 1) ** 0.5
        said += self.bias
        return said

    def cooled(self, temperature: float) -> "_Table":
        """With logits that are divided by it."""
        return _Table(self.weight, self.scale / np.float32(temperature), self.bias / np.float32(temperature))


@dataclass(frozen=True, slots=True)
class _Vectors:
    """The mean of vectors of word pieces through a layer with a rectifier; all tables side by side in one."""

    hidden: Array
    bias: Array
    out: Array

    def logits(self, total: Array, count: int) -> Array:
        """From the sum of so many vectors."""
        hidden = total @ self.hidden
        hidden *= 1 / count
        hidden += self.bias
        return np.asarray(np.maximum(hidden, 0, out=hidden) @ self.out)


def summed(table: Array, rows: Array) -> Array:
    """The sum of some rows, exact: whole numbers below 2 ** 24 are whole in float32, and BLAS adds those fastest."""
    ones = _ONES[: len(rows)] if len(rows) <= len(_ONES) else np.ones(len(rows), np.float32)
    return np.asarray(ones @ table.take(rows, axis=0).astype(np.float32))


_ONES = np.ones(2048, np.float32)


class Words:
    """What n-grams and word pieces say, for every head but the language."""

    def __init__(self, stored: Mapping[str, Array], tokenizer: Tokenizer) -> None:
        """From the tables of a tier0.npz; KeyError when one is missing."""
        self._lexicon = Lexicon(tokenizer)
        names = sorted({key.split(".")[0] for key in stored} - {LANGUAGE, *PIECES})
        # One table for all heads, so that its rows are fetched once.
        self._ngrams = _table(stored, names)
        vectors, self._vectors = _vectors(stored, names)
        self._known = _known(self._lexicon, self._ngrams.weight, vectors)
        self.parts: dict[str, slice] = {}
        """Where each head stands in a row over all heads."""
        at = 0
        for name in names:
            self.parts[name] = slice(at, at + len(stored[f"{name}.bias"]))
            at = self.parts[name].stop
        self._sizes = np.array([part.stop - part.start for part in self.parts.values()])
        owners = np.repeat(np.arange(len(self._sizes)), self._sizes)
        self._same = (owners[:, None] == owners).astype(np.float64)
        """Which labels are of the same head."""

    def split(self, rows: Array) -> dict[str, Array]:
        """Rows over all heads as one for each, in the order of the head's labels."""
        return {name: rows[..., part] for name, part in self.parts.items()}

    def spread(self, values: Mapping[str, float]) -> Array:
        """A number for each head (1 where there is none) as a row over all heads."""
        return np.repeat(np.array([values.get(name, 1.0) for name in self.parts], np.float32), self._sizes)

    def softmax(self, row: Array) -> Array:
        """The probabilities of all heads at once: one pass costs what one head would.

        In 64 bits, where powers of all heads fit in the range beside the likeliest label of one of them.
        """
        powers = np.exp(row - row.max(), dtype=np.float64)
        powers /= powers @ self._same
        return np.asarray(powers, dtype=np.float32)

    def logits(self, text: str) -> Array:
        """A row over all heads."""
        read = self._lexicon.read(text)
        ngrams = self._ngrams
        known, said = summed(self._known, read.rows), summed(ngrams.weight, read.buckets)
        width = len(said)
        buckets, pieces = known[-2:].tolist()
        said += known[:width]
        said += known[width : 2 * width]
        said *= ngrams.scale / max(buckets + len(read.buckets), 1) ** 0.5
        said += ngrams.bias
        if pieces:
            said += self._vectors.logits(known[2 * width : -2], pieces)
        return said


def _known(lexicon: Lexicon, ngrams: Array, vectors: Array) -> Array:
    """What the rows of the lexicon add: n-grams of a word and its beginning, a piece's vector; at the end nothing.

    The last two columns count buckets and pieces.
    """
    words, pieces, width = len(lexicon.words), len(vectors), ngrams.shape[1]
    rows = np.zeros((words + pieces + 1, 2 * width + vectors.shape[1] + 2), np.int8)
    has_stem = lexicon.stems >= 0
    rows[:words, :width] = ngrams[lexicon.words]
    rows[:words, width : 2 * width][has_stem] = ngrams[lexicon.stems[has_stem]]
    rows[:words, 2 * width : -2] = vectors[lexicon.pieces]
    rows[:words, -2] = 1 + has_stem
    rows[words:-1, 2 * width : -2] = vectors
    rows[:-1, -1] = 1
    return rows


class Tier0:
    """The tables of a model folder."""

    def __init__(self, path: Path, temperatures: Mapping[str, float], tokenizer: Tokenizer) -> None:
        """Reads the tables; some tens of milliseconds. ConfigError when the file is none."""
        try:
            stored = dict(np.load(path, allow_pickle=False))
            self.languages: tuple[str, ...] = tuple(stored.pop("language.labels").tolist())
            self._language = _table(stored, [LANGUAGE]).cooled(temperatures.get(LANGUAGE, 1.0))
            self._words = Words(stored, tokenizer)
            self._heat = self._words.spread(temperatures)
        except (OSError, ValueError, KeyError) as broken:
            raise ConfigError(str(path), f"cannot be read: {broken}") from broken

    @property
    def parts(self) -> Mapping[str, slice]:
        """Where each head stands in the rows of `words`, in the order of its labels."""
        return self._words.parts

    def words(self, text: str) -> tuple[Array, Array]:
        """Logits, and calibrated probabilities, each a row over all heads."""
        row = self._words.logits(text)
        return row, self._words.softmax(row / self._heat)

    def language(self, text: str) -> Array:
        """Calibrated probabilities of `languages`."""
        buckets = character_buckets(text)
        if not len(buckets):
            return np.full(len(self.languages), 1 / len(self.languages), np.float32)
        return _softmax(self._language.logits(buckets))


def _table(stored: Mapping[str, Array], names: list[str]) -> _Table:
    weight, scale, bias = (
        np.concatenate([stored[f"{name}.{part}"] for name in names], axis=-1) for part in ("weight", "scale", "bias")
    )
    return _Table(weight, scale, bias)


def _vectors(stored: Mapping[str, Array], names: list[str]) -> tuple[Array, _Vectors]:
    """The vectors of pieces and the layers over them, as one table: a head gets nothing from one it does not read."""
    tables = [table for table in PIECES if f"{table}.weight" in stored]
    weight, scale, bias = (
        np.concatenate([stored[f"{table}.{part}"] for table in tables], axis=-1) for part in ("weight", "scale", "bias")
    )
    hidden = np.zeros((len(scale), len(bias)), np.float32)
    outs = []
    row = column = 0
    for table in tables:
        inner = stored[f"{table}.hidden"]
        hidden[row : row + inner.shape[0], column : column + inner.shape[1]] = inner
        row, column = row + inner.shape[0], column + inner.shape[1]
        key = "vectors" + table.removeprefix(PIECES[0])
        nothing = {name: np.zeros((inner.shape[1], len(stored[f"{name}.bias"]))) for name in names}
        outs.append(np.concatenate([stored.get(f"{name}.{key}", nothing[name]) for name in names], axis=-1))
    hidden *= scale[:, None]
    return weight, _Vectors(hidden, bias.astype(np.float32), np.concatenate(outs).astype(np.float32))


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    powers /= powers.sum()
    return np.asarray(powers)
