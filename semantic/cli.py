"""`onehop classify`: JSONL of texts in, JSONL of what the stage sees in them out, in the same order."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

from semantic.onnx import Classification, DomainModel

BATCH_ROWS = 16
TIERS = ("auto", "1")
"""There is one tier so far: the encoder. Asking for the tier without it is refused rather than answered by it."""


class BadRow(Exception):
    """A row that cannot be classified; the message names its line."""


def run_classify(path: str, tier: str, out: IO[str]) -> int:
    """Classifies the rows of a file, or of standard input for `-`. Returns the exit status."""
    if tier not in TIERS:
        sys.stderr.write(f"onehop classify: tier {tier!r} is not available, choose from {', '.join(TIERS)}\n")
        return 1
    model = DomainModel()
    try:
        with nullcontext(sys.stdin) if path == "-" else Path(path).open(encoding="utf-8") as lines:
            for batch in _batches(_texts(lines)):
                for text, found in zip(batch, model.classify(batch), strict=True):
                    out.write(json.dumps(_row(text, found, model.threshold), ensure_ascii=False) + "\n")
    except (OSError, UnicodeDecodeError) as unreadable:
        sys.stderr.write(f"onehop classify: {path}: {unreadable}\n")
        return 1
    except BadRow as bad:
        sys.stderr.write(f"onehop classify: {path}: {bad}\n")
        return 1
    return 0


def _texts(lines: Iterable[str]) -> Iterator[str]:
    """The text of each row; empty lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as broken:
            raise BadRow(f"line {number} is not JSON: {broken}") from broken
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise BadRow(f'line {number} is not an object with a string "text"')
        yield row["text"]


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _row(text: str, found: Classification, threshold: float) -> dict[str, Any]:
    """The row in the shape of the interface; an abstained label is what the stage would not act on."""
    return {
        "domain": {
            "label": found.category,
            "probabilities": {label: round(value, 4) for label, value in found.probabilities.items()},
            "abstained": found.confidence < threshold,
            "tier": 1,
        },
        "coverage": {
            "scanned_bytes": found.scanned_bytes,
            "total_bytes": len(text.encode(errors="replace")),
        },
    }
