"""A user's model on onnxruntime: sequence or token classification, whole texts in windows. Synchronous, CPU-bound.

What it is shows in its output: (batch, labels) classifies the text, (batch, tokens, labels) its tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]  # ships no types
from tokenizers import Encoding, Tokenizer

from semantic.own.declared import OwnModel
from semantic.own.folder import Folder, open_folder
from semantic.own.spans import Tagged, spans_of, type_of
from semantic.reading import ConfigError
from semantic.signals.api import Answer, Coverage, Seen

WINDOWS_MAX = 64
"""Windows of one text; what is longer counts as unread, not as read in part."""
BATCH_WINDOWS = 8
STRIDE_TOKENS_MAX = 32
"""Tokens that two windows share, so that what lies across a border is seen whole by one."""
CHARACTERS_PER_TOKEN_MAX = 12
THREADS = 2
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
OUTSIDE = "O"

Floats = npt.NDArray[np.float32]


class LoadedModel:
    """One model, ready. `see` may be called from one thread at a time."""

    def __init__(self, base: Path, own: OwnModel, threads: int = THREADS) -> None:
        """Loads and tries it. Blocking. Raises ConfigError, with the path in the configuration."""
        self.name = own.name
        self._own = own
        self._folder: Folder = open_folder(base, own)
        self._tokenizer = self._open_tokenizer()
        self._session = self._open_session(threads)
        self._inputs = self._check_inputs()
        self.labels = self._folder.labels
        self.labels = self._try()

    def see(self, text: str) -> Seen | None:
        """The answer under the model's name, and spans where it classifies tokens.

        None for a text too long to read, or without a token, and for an answer that is no number.
        """
        if len(text) > WINDOWS_MAX * self._folder.window_tokens * CHARACTERS_PER_TOKEN_MAX:
            return None
        # A lone surrogate (half of a \\u pair in JSON) is no character the tokeniser could take.
        text = text.encode(errors="replace").decode()
        windows = self._windows(text)
        if len(windows) > WINDOWS_MAX or not windows[0].ids:
            return None
        logits = [self._run(windows[at : at + BATCH_WINDOWS]) for at in range(0, len(windows), BATCH_WINDOWS)]
        if not all(np.isfinite(batch).all() for batch in logits):
            return None
        coverage = Coverage(len(text.encode()), len(text.encode()))
        if logits[0].ndim == 2:
            return Seen({self.name: self._of_text(np.concatenate(logits))}, coverage=coverage)
        return self._of_tokens([row for batch in logits for row in batch], windows, coverage)

    def _of_text(self, logits: Floats) -> Answer:
        """Max: a label is as likely as in its likeliest window, so they need not add up to 1. Mean: they do."""
        likely = self._probabilities(logits)
        pooled = likely.max(axis=0) if self._own.pooling == "max" else likely.mean(axis=0)
        named = {label: float(value) for label, value in zip(self.labels, pooled, strict=True)}
        label = max(named, key=named.__getitem__)
        return Answer(label, named[label], named)

    def _of_tokens(self, rows: Sequence[Floats], windows: Sequence[Encoding], coverage: Coverage) -> Seen:
        tagged: list[Tagged] = []
        best: dict[str, float] = {}
        for logits, window in zip(rows, windows, strict=True):
            likely = self._probabilities(logits[: len(window.ids)])
            for row, offsets, special in zip(likely, window.offsets, window.special_tokens_mask, strict=True):
                if special or offsets[0] == offsets[1]:
                    continue
                place = int(row.argmax())
                label = self.labels[place]
                tagged.append(Tagged(*offsets, label, float(row[place])))
                for name, value in zip(self.labels, row, strict=True):
                    kind = type_of(name)
                    best[kind] = max(best.get(kind, 0.0), float(value))
        spans = spans_of(tagged)
        found = {kind: value for kind, value in best.items() if kind != OUTSIDE}
        label = max((span.type for span in spans), key=lambda kind: found.get(kind, 0.0), default=OUTSIDE)
        answer = Answer(label, best.get(label, 0.0), best)
        return Seen({self.name: answer}, spans, coverage=coverage)

    def _probabilities(self, logits: Floats) -> Floats:
        if self._folder.several:
            return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)

    def _windows(self, text: str) -> list[Encoding]:
        first: Encoding = self._tokenizer.encode(text)
        return [first, *first.overflowing]

    def _run(self, windows: Sequence[Encoding]) -> Floats:
        longest = max(len(window.ids) for window in windows)
        fed = {name: np.zeros((len(windows), longest), dtype=kind) for name, kind in self._inputs.items()}
        for row, window in enumerate(windows):
            if "input_ids" in fed:
                fed["input_ids"][row, : len(window.ids)] = window.ids
            if "attention_mask" in fed:
                fed["attention_mask"][row, : len(window.ids)] = 1
        return np.asarray(self._session.run(None, fed)[0], dtype=np.float32)

    def _try(self) -> tuple[str, ...]:
        """A first pass: it allocates, and shows whether labels and outputs belong together."""
        try:
            shape = self._run(self._windows("warm up")).shape
        except Exception as broken:  # onnxruntime has one exception class a status, all straight from Exception
            raise ConfigError(self._own.path, f"the model cannot be run: {type(broken).__name__}") from broken
        if len(shape) not in (2, 3):
            raise ConfigError(
                self._own.path, f"the model's first output has {len(shape)} dimensions: it is no classifier"
            )
        if self.labels and len(self.labels) != shape[-1]:
            message = f"the model has {shape[-1]} outputs and {len(self.labels)} labels are named"
            raise ConfigError(self._own.path, message)
        return self.labels or tuple(f"LABEL_{n}" for n in range(shape[-1]))

    def _check_inputs(self) -> dict[str, Any]:
        inputs = {one.name: one.type for one in self._session.get_inputs()}
        if strange := [name for name, kind in inputs.items() if name not in _INPUTS or kind not in _INTEGERS]:
            message = f"the model wants the input {strange[0]!r} ({inputs[strange[0]]}); known are {', '.join(_INPUTS)}"
            raise ConfigError(self._own.path, message)
        return {name: _INTEGERS[kind] for name, kind in inputs.items()}

    def _open_tokenizer(self) -> Tokenizer:
        try:
            tokenizer: Tokenizer = Tokenizer.from_file(str(self._folder.tokenizer))
        except Exception as broken:  # the library raises plain Exception
            raise ConfigError(self._own.path, f"{self._folder.tokenizer.name} cannot be read: {broken}") from broken
        window = self._folder.window_tokens
        tokenizer.no_padding()
        tokenizer.enable_truncation(window, stride=min(STRIDE_TOKENS_MAX, window // 8))
        return tokenizer

    def _open_session(self, threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Without this, idle worker threads spin and take the core the event loop runs on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what is wrong is raised; lines on standard error are nobody's
        try:
            return onnxruntime.InferenceSession(str(self._folder.model), options, providers=self._providers())
        except ConfigError:
            raise
        except Exception as broken:  # one exception class a status, all straight from Exception
            raise ConfigError(
                self._own.path, f"onnxruntime cannot load {self._folder.model.name}: {broken}"
            ) from broken

    def _providers(self) -> list[str]:
        if self._own.cpu:
            return ["CPUExecutionProvider"]
        had = onnxruntime.get_available_providers()
        if "CUDAExecutionProvider" not in had:
            message = f"use_cpu is false, and this onnxruntime has no GPU provider, only {', '.join(had)}"
            raise ConfigError(self._own.path, message)
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
