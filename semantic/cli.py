"""`onehop classify`: JSONL of texts in, JSONL of what the stage sees in them out, in the same order."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

from semantic.reading import ConfigError
from semantic.signals.engine import Ask, Engine
from semantic.signals.settings import SHIPPED
from semantic.signals.values import HEADS, Head, PiiSpan, TextSignals

BATCH_ROWS = 16
TIERS: tuple[Ask, ...] = ("auto", "0", "1")


class BadRow(Exception):
    """A row that cannot be classified; the message names its line."""


def run_classify(path: str, tier: Ask, out: IO[str], model: Path = SHIPPED) -> int:
    """Classifies the rows of a file, or of standard input for `-`, by a model folder. Returns the exit status."""
    try:
        engine = Engine(model)
        with nullcontext(sys.stdin) if path == "-" else Path(path).open(encoding="utf-8") as lines:
            for batch in _batches(_texts(lines)):
                for found in engine.read(batch, tier):
                    out.write(json.dumps(row_of(found), ensure_ascii=False) + "\n")
    except ConfigError as broken:
        sys.stderr.write(f"onehop classify: {broken}\n")
        return 1
    except OSError as unreadable:
        sys.stderr.write(f"onehop classify: {path}: {unreadable.strerror or unreadable}\n")
        return 1
    except UnicodeDecodeError:
        sys.stderr.write(f"onehop classify: {path}: is not UTF-8 text\n")
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


def row_of(found: TextSignals) -> dict[str, Any]:
    """The signals in the shape of the interface."""
    heads = {name: _head(found.heads[name]) for name in HEADS if name in found.heads}
    return {
        **heads,
        "pii": {"spans": [_span(span) for span in found.pii]},
        "coverage": {"scanned_bytes": found.coverage.scanned_bytes, "total_bytes": found.coverage.total_bytes},
    }


def _head(head: Head) -> dict[str, Any]:
    return {
        "label": head.label,
        "probabilities": {label: round(value, 5) for label, value in head.probabilities.items()},
        "abstained": head.abstained,
        "tier": head.tier,
    }


def _span(span: PiiSpan) -> dict[str, Any]:
    return {"start": span.start, "end": span.end, "type": span.type, "score": round(span.score, 4)}
