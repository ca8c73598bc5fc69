"""Tier 1: the multi-head encoder on onnxruntime. Texts in, one forward pass, every head's logits out.

Synchronous and CPU-bound; it is called from one worker thread at a time. A text with more tokens than a window is read
in several windows of the same pass, and pooled here: the mean for what a text is about, the worst for what is in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.onnx import open_session, softmax
from semantic.shapes import shape_codes
from semantic.signals.pii import decode
from semantic.signals.settings import Settings
from semantic.signals.values import PiiSpan
from semantic.windows import windows_of

Array = npt.NDArray[Any]
MODEL = "model.onnx"
THREADS = 2
"""Threads of one forward pass. More help only long batches, and take cores from the event loop."""
PASS_TOKENS_MAX = 512
"""Tokens of one forward pass, with what pads its windows to the longest. More at once are no faster on a CPU."""
_CLS, _SEP = 101, 102


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoder says of one piece of text: probabilities by head as they come, spans in it, its mean vector."""

    likely: Mapping[str, Array]
    spans: tuple[PiiSpan, ...]
    embedding: npt.NDArray[np.float32]
    weight: float
    """Tokens read, at least 1: how much this piece counts beside others of its text."""


@dataclass(frozen=True, slots=True)
class _Window:
    text: int
    ids: Sequence[int]
    shapes: Array
    offsets: Sequence[tuple[int, int]]


class Encoder:
    """The session of a model folder."""

    def __init__(self, folder: Path, settings: Settings, tokenizer: Tokenizer, threads: int = THREADS) -> None:
        """Loads the session; takes some hundred milliseconds, so not on the event loop."""
        self._settings = settings
        self._tokenizer = tokenizer
        self._session = open_session(folder / MODEL, threads)

    def classify(self, texts: Sequence[str]) -> list[Encoded]:
        """One answer for each text, in order."""
        # A lone surrogate (half of a \\u pair in JSON) is no character the tokeniser could take.
        cleaned = [text.encode(errors="replace").decode() for text in texts]
        windows = [window for n, text in enumerate(cleaned) for window in self._windows(n, text)]
        windows.sort(key=lambda window: len(window.ids))
        parts: list[list[Encoded]] = [[] for _ in texts]
        for batch in _passes(windows):
            for window, encoded in zip(batch, self._run(batch, cleaned), strict=True):
                parts[window.text].append(encoded)
        return [pooled(part, self._settings) for part in parts]

    def _windows(self, number: int, text: str) -> list[_Window]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
        return [
            _Window(number, [_CLS, *ids[low:high], _SEP], shape_codes(text, offsets[low:high]), offsets[low:high])
            for low, high in windows_of(len(ids))
        ]

    def _run(self, windows: Sequence[_Window], texts: Sequence[str]) -> list[Encoded]:
        longest = max(len(window.ids) for window in windows)
        ids, mask, shapes = (np.zeros((len(windows), longest), np.int64) for _ in range(3))
        for row, window in enumerate(windows):
            ids[row, : len(window.ids)], mask[row, : len(window.ids)] = window.ids, 1
            shapes[row, 1 : len(window.ids) - 1] = window.shapes
        given = {"input_ids": ids, "attention_mask": mask, "shapes": shapes}
        logits, tags, embedding = self._session.run(["logits", "tags", "embedding"], given)
        likely = self._heads(logits)
        return [
            Encoded(
                {name: values[row] for name, values in likely.items()},
                decode(tags[row, 1 : len(window.ids) - 1], window.offsets, texts[window.text], self._settings.pii),
                embedding[row],
                max(1.0, len(window.ids) - 2.0),
            )
            for row, window in enumerate(windows)
        ]

    def _heads(self, logits: Array) -> dict[str, Array]:
        out: dict[str, Array] = {}
        at = 0
        for name, head in self._settings.encoder.items():
            out[name] = softmax(logits[:, at : at + len(head.labels)], 1.0)
            at += len(head.labels)
        return out


def _passes(windows: Sequence[_Window]) -> Iterator[Sequence[_Window]]:
    """Windows by length, the shortest first, as they go through the model together."""
    first = 0
    for past, window in enumerate(windows):
        if past > first and (past + 1 - first) * len(window.ids) > PASS_TOKENS_MAX:
            yield windows[first:past]
            first = past
    if windows:
        yield windows[first:]


def pooled(parts: Sequence[Encoded], settings: Settings) -> Encoded:
    """Several windows or pieces of one text as one answer; spans that the overlaps repeat are kept once."""
    if len(parts) == 1:
        return parts[0]
    weights = np.array([part.weight for part in parts])
    share = (weights / weights.sum())[:, None]
    likely: dict[str, Array] = {}
    for name in parts[0].likely:
        rows = np.stack([part.likely[name] for part in parts])
        if name == "safety":
            likely[name] = rows[settings.risk(rows).argmax()]
        else:
            likely[name] = (rows * share).sum(axis=0)
    spans = tuple(sorted({span for part in parts for span in part.spans}, key=lambda span: (span.start, -span.end)))
    embedding = (np.stack([part.embedding for part in parts]) * share).sum(axis=0).astype(np.float32)
    return Encoded(likely, spans, embedding, float(weights.sum()))
