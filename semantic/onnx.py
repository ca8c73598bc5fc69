"""The category model on onnxruntime: token ids in, calibrated probabilities out. Synchronous and CPU-bound.

It is called from one worker thread at a time. Probabilities come in the order of `labels`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]  # ships no types
from tokenizers import Tokenizer

from semantic.reading import ConfigError
from semantic.windows import HEAD_SHARE, characters_within, ids_within

DOMAIN_MODEL = Path(__file__).parent / "models" / "domain"
THREADS = 2
"""Threads of one forward pass. More help only long batches, and take cores from the event loop."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What the model says of one text. `scanned_bytes` is how much of the text it read."""

    category: str
    confidence: float
    probabilities: Mapping[str, float]
    scanned_bytes: int

    def top(self, count: int) -> tuple[tuple[str, float], ...]:
        """The likeliest categories, best first."""
        return tuple(sorted(self.probabilities.items(), key=lambda item: -item[1])[:count])


@dataclass(frozen=True, slots=True)
class _Tokens:
    ids: Sequence[int]
    scanned_bytes: int


class DomainModel:
    """The shipped 14-category classifier, or another folder of the same make."""

    def __init__(self, folder: Path = DOMAIN_MODEL, threads: int = THREADS) -> None:
        """Loads the session; takes some hundred milliseconds, so not on the event loop."""
        meta = _read_meta(folder)
        self.labels: tuple[str, ...] = tuple(meta["labels"])
        self.max_tokens: int = meta["max_tokens"]
        self.threshold: float = meta["threshold"]
        self._temperature: float = meta["temperature"]
        self._tokenizer = _read_tokenizer(folder / "tokenizer.json")
        self._session = _open_session(folder / "model.onnx", threads)

    def classify(self, texts: Sequence[str]) -> list[Classification]:
        """One forward pass over all texts, padded to the longest."""
        if not texts:
            return []
        tokens = [self._tokens(text) for text in texts]
        ids, mask = _padded([t.ids for t in tokens])
        logits = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        likely = softmax(np.asarray(logits, dtype=np.float32), self._temperature)
        return [self._named(row, t.scanned_bytes) for row, t in zip(likely, tokens, strict=True)]

    def _tokens(self, text: str) -> _Tokens:
        # A lone surrogate (half of a \\u pair in JSON) is no character the tokeniser could take.
        cut = characters_within(text, self.max_tokens).encode(errors="replace").decode()
        encoding = self._tokenizer.encode(cut)
        ids = ids_within(encoding.ids, self.max_tokens)
        if len(ids) == len(encoding.ids):
            return _Tokens(ids, len(cut.encode()))
        head = int(self.max_tokens * HEAD_SHARE)
        before, after = encoding.offsets[head - 1][1], encoding.offsets[head - self.max_tokens][0]
        return _Tokens(ids, len((cut[:before] + cut[after:]).encode()))

    def _named(self, likely: npt.NDArray[np.float32], scanned_bytes: int) -> Classification:
        best = int(likely.argmax())
        named = {label: float(value) for label, value in zip(self.labels, likely, strict=True)}
        return Classification(self.labels[best], float(likely[best]), named, scanned_bytes)


def softmax(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float32]:
    """Probabilities from logits, row by row."""
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def _padded(rows: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    longest = max(len(row) for row in rows)
    ids = np.zeros((len(rows), longest), dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return ids, mask


def _read_meta(folder: Path) -> dict[str, Any]:
    path = folder / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise ConfigError(str(path), "the model folder has no meta.json") from missing
    except ValueError as broken:
        raise ConfigError(str(path), f"is not JSON: {broken}") from broken
    if not isinstance(meta, dict):
        raise ConfigError(str(path), "is not a JSON object")
    for key in ("labels", "max_tokens", "temperature", "threshold"):
        if key not in meta:
            raise ConfigError(f"{path}: {key}", "is missing")
    return meta


def _read_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise ConfigError(str(path), "the model folder has no tokenizer.json")
    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    except Exception as broken:  # the library raises plain Exception
        raise ConfigError(str(path), f"cannot be read as a tokenizer: {broken}") from broken
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _open_session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Without this, idle worker threads spin and take the core the event loop runs on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    if not path.is_file():
        raise ConfigError(str(path), "the model folder has no model.onnx")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as broken:  # onnxruntime has one exception class a status, all straight from Exception
        raise ConfigError(str(path), f"cannot be loaded by onnxruntime: {broken}") from broken
