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
from semantic.signals.ngrams import character_buckets, kept_pieces, kept_text, word_buckets

Array = npt.NDArray[Any]
NAMES = "names"
"""The table that says whether a text may hold personal data without a form, such as names."""
LANGUAGE = "language"
PIECES = "pieces"


@dataclass(frozen=True, slots=True)
class _Table:
    weight: Array
    scale: Array
    bias: Array

    def logits(self, buckets: Array) -> Array:
        total = self.weight[buckets].sum(axis=0, dtype=np.int32)
        return np.asarray(total * self.scale / np.sqrt(max(len(buckets), 1)) + self.bias, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Vectors:
    """Averaged vectors of word pieces through a layer with a rectifier."""

    weight: Array
    scale: Array
    hidden: Array
    bias: Array
    out: Array

    def logits(self, pieces: Array) -> Array:
        mean = self.weight[pieces].sum(axis=0, dtype=np.int32) * self.scale / max(len(pieces), 1)
        return np.asarray(np.maximum(mean @ self.hidden + self.bias, 0) @ self.out, dtype=np.float32)


class Words:
    """What n-grams and word pieces say, for every head but the language."""

    def __init__(self, stored: Mapping[str, Array], tokenizer: Tokenizer) -> None:
        """From the tables of a tier0.npz; KeyError when one is missing."""
        self._tokenizer = tokenizer
        names = sorted({key.split(".")[0] for key in stored} - {LANGUAGE, PIECES})
        # One table for all heads, so that its rows are fetched once.
        self._ngrams = _table(stored, names)
        self._vectors = _vectors(stored, names)
        self._parts: dict[str, slice] = {}
        at = 0
        for name in names:
            self._parts[name] = slice(at, at + len(stored[f"{name}.bias"]))
            at = self._parts[name].stop
        self._starts = np.array([part.start for part in self._parts.values()])
        self._sizes = np.array([part.stop - part.start for part in self._parts.values()])

    def split(self, row: Array) -> dict[str, Array]:
        """A row over all heads as one for each, in the order of the head's labels."""
        return {name: row[part] for name, part in self._parts.items()}

    def spread(self, values: Mapping[str, float]) -> Array:
        """A number for each head (1 where there is none) as a row over all heads."""
        return np.repeat(np.array([values.get(name, 1.0) for name in self._parts], np.float32), self._sizes)

    def softmax(self, row: Array) -> Array:
        """The probabilities of all heads at once: one pass costs what one head would."""
        powers = np.exp(row - np.repeat(np.maximum.reduceat(row, self._starts), self._sizes))
        return np.asarray(powers / np.repeat(np.add.reduceat(powers, self._starts), self._sizes), dtype=np.float32)

    def logits(self, text: str) -> Array:
        """A row over all heads."""
        # A lone surrogate (half of a \\u pair in JSON) is no character the tokeniser could take.
        kept = kept_text(text).encode(errors="replace").decode()
        pieces = kept_pieces(self._tokenizer.encode(kept, add_special_tokens=False).ids)
        logits = self._ngrams.logits(word_buckets(text))
        if len(pieces):
            logits = logits + self._vectors.logits(pieces)
        return logits


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
    out = np.concatenate([stored[f"{name}.vectors"] for name in names], axis=-1)
    weight, scale, hidden, bias = (stored[f"{PIECES}.{part}"] for part in ("weight", "scale", "hidden", "bias"))
    return _Vectors(weight, scale, hidden.astype(np.float32), bias.astype(np.float32), out.astype(np.float32))


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)
