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
        return np.asarray(summed(self.weight, buckets) * (self.scale / max(len(buckets), 1) ** 0.5) + self.bias)


@dataclass(frozen=True, slots=True)
class _Vectors:
    """Averaged vectors of word pieces through a layer with a rectifier; all tables side by side in one."""

    weight: Array
    scale: Array
    hidden: Array
    bias: Array
    out: Array

    def logits(self, total: Array, count: int) -> Array:
        """From the sum of so many rows of `weight`."""
        hidden = (total * (self.scale / max(count, 1))) @ self.hidden
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
        self._vectors = _vectors(stored, names)
        self._parts: dict[str, slice] = {}
        self._known = self._rows_of_words()
        at = 0
        for name in names:
            self._parts[name] = slice(at, at + len(stored[f"{name}.bias"]))
            at = self._parts[name].stop
        self._starts = np.array([part.start for part in self._parts.values()])
        self._sizes = np.array([part.stop - part.start for part in self._parts.values()])
        self._owners = np.repeat(np.arange(len(self._sizes)), self._sizes)

    def split(self, row: Array) -> dict[str, Array]:
        """A row over all heads as one for each, in the order of the head's labels."""
        return {name: row[part] for name, part in self._parts.items()}

    def spread(self, values: Mapping[str, float]) -> Array:
        """A number for each head (1 where there is none) as a row over all heads."""
        return np.repeat(np.array([values.get(name, 1.0) for name in self._parts], np.float32), self._sizes)

    def softmax(self, row: Array) -> Array:
        """The probabilities of all heads at once: one pass costs what one head would."""
        powers = np.exp(row - np.maximum.reduceat(row, self._starts)[self._owners])
        return np.asarray(powers / np.add.reduceat(powers, self._starts)[self._owners], dtype=np.float32)

    def logits(self, text: str) -> Array:
        """A row over all heads."""
        read = self._lexicon.read(text)
        known = summed(self._known, read.known)
        ngrams = self._ngrams
        width = ngrams.weight.shape[1]
        said = known[:width] + summed(ngrams.weight, read.buckets)
        logits = said * (ngrams.scale / max(read.buckets_total, 1) ** 0.5) + ngrams.bias
        if read.pieces_total:
            total = known[width:]
            if len(read.pieces):
                total = total + summed(self._vectors.weight, read.pieces)
            logits = logits + self._vectors.logits(total, read.pieces_total)
        return np.asarray(logits, dtype=np.float32)

    def _rows_of_words(self) -> Array:
        """What each known word adds, to the n-grams' sum (its own row and its beginning's) and to the vectors'."""
        lexicon, weight = self._lexicon, self._ngrams.weight.astype(np.int16)
        stems = np.where((lexicon.stems >= 0)[:, None], weight[lexicon.stems], 0)
        return np.concatenate([weight[lexicon.words] + stems, self._vectors.weight[lexicon.pieces]], axis=1)


class Tier0:
    """The tables of a model folder."""

    def __init__(self, path: Path, temperatures: Mapping[str, float], tokenizer: Tokenizer) -> None:
        """Reads the tables; some tens of milliseconds. ConfigError when the file is none."""
        self._temperatures = temperatures
        try:
            stored = dict(np.load(path, allow_pickle=False))
            self.languages: tuple[str, ...] = tuple(stored.pop("language.labels").tolist())
            self._language = _table(stored, [LANGUAGE])
            self._words = Words(stored, tokenizer)
            self._heat = self._words.spread(temperatures)
        except (OSError, ValueError, KeyError) as broken:
            raise ConfigError(str(path), f"cannot be read: {broken}") from broken

    def words(self, text: str) -> tuple[dict[str, Array], dict[str, Array]]:
        """Logits, and calibrated probabilities, by head, in the order of the head's labels."""
        row = self._words.logits(text)
        return self._words.split(row), self._words.split(self._words.softmax(row / self._heat))

    def language(self, text: str) -> Array:
        """Calibrated probabilities of `languages`."""
        buckets = character_buckets(text)
        if not len(buckets):
            return np.full(len(self.languages), 1 / len(self.languages), np.float32)
        return _softmax(self._language.logits(buckets) / self._temperatures.get(LANGUAGE, 1.0))


def _table(stored: Mapping[str, Array], names: list[str]) -> _Table:
    weight, scale, bias = (
        np.concatenate([stored[f"{name}.{part}"] for name in names], axis=-1) for part in ("weight", "scale", "bias")
    )
    return _Table(weight, scale, bias)


def _vectors(stored: Mapping[str, Array], names: list[str]) -> _Vectors:
    """The tables of pieces with their last layers as one; heads that do not read a table get nothing from it."""
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
    return _Vectors(weight, scale, hidden, bias.astype(np.float32), np.concatenate(outs).astype(np.float32))


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)
