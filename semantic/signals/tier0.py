"""Tier 0: what words and letters alone say. Linear in the words looked at, a fraction of a millisecond, no encoder.

Tables are int8 with a scale a column; a text's answer is the sum of its features' rows over the root of their number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.reading import ConfigError
from semantic.signals.ngrams import character_buckets, word_buckets

Array = npt.NDArray[Any]
NAMES = "names"
"""The table that says whether a text may hold personal data without a form, such as names."""
LANGUAGE = "language"


@dataclass(frozen=True, slots=True)
class _Table:
    weight: Array
    scale: Array
    bias: Array

    def likely(self, buckets: Array, temperature: float) -> Array:
        if not len(buckets):
            return np.full(len(self.bias), 1 / len(self.bias), np.float32)
        total = self.weight[buckets].sum(axis=0, dtype=np.int32)
        logits = (total * self.scale / np.sqrt(len(buckets)) + self.bias) / temperature
        powers = np.exp(logits - logits.max())
        return np.asarray(powers / powers.sum(), dtype=np.float32)


class Tier0:
    """The linear classifiers of a model folder."""

    def __init__(self, folder: Path, temperatures: Mapping[str, float]) -> None:
        """Reads the tables; some tens of milliseconds."""
        path = folder / "tier0.npz"
        try:
            stored = dict(np.load(path, allow_pickle=False))
        except (OSError, ValueError) as broken:
            raise ConfigError(str(path), f"cannot be read: {broken}") from broken
        self.languages: tuple[str, ...] = tuple(stored.pop("language.labels").tolist())
        self._temperatures = temperatures
        tables = {name: self._table(stored, name) for name in {key.split(".")[0] for key in stored}}
        self._language = tables.pop(LANGUAGE)
        # One table for all heads that read words, so that its rows are fetched once.
        self._parts: dict[str, slice] = {}
        at = 0
        for name, table in tables.items():
            self._parts[name] = slice(at, at + len(table.bias))
            at += len(table.bias)
        self._words = _Table(
            *(
                np.concatenate([getattr(t, part) for t in tables.values()], axis=-1)
                for part in ("weight", "scale", "bias")
            )
        )

    def words(self, text: str) -> dict[str, Array]:
        """Calibrated probabilities by head, in the order of the head's labels."""
        buckets = word_buckets(text)
        total = self._words.weight[buckets].sum(axis=0, dtype=np.int32)
        logits = total * self._words.scale / np.sqrt(max(len(buckets), 1)) + self._words.bias
        return {name: _softmax(logits[part] / self._temperatures.get(name, 1.0)) for name, part in self._parts.items()}

    def language(self, text: str) -> Array:
        """Calibrated probabilities of `languages`."""
        return self._language.likely(character_buckets(text), self._temperatures.get(LANGUAGE, 1.0))

    @staticmethod
    def _table(stored: Mapping[str, Array], name: str) -> _Table:
        return _Table(*(stored[f"{name}.{part}"] for part in ("weight", "scale", "bias")))


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)
