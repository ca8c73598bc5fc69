"""Measures the shipped file as the product runs it and prints the tables of docs/models/domain.md.

    python -m semantic.training.report_domain --data domain.jsonl.gz --trained DIR [--model semantic/models/domain]

Only the row split is measured on the file itself; the left-out folds are other weights of the same recipe, so their
figures come from what `train_domain` wrote.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from semantic.onnx import DOMAIN_MODEL, DomainModel
from semantic.training.calibrate import calibration_error, kept_and_right, probabilities
from semantic.training.rows import FOLDS, LABELS, Row, read_rows, split
from semantic.training.train_domain import accuracies

BATCH = 16
REPEATS = 30


def main() -> None:
    """Reads the command line and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=DOMAIN_MODEL)
    args = parser.parse_args()
    model = DomainModel(args.model)
    _, unseen = split(read_rows(args.data), "rows")
    guesses = _guesses(model, unseen)
    figures = json.loads((args.trained / "figures.json").read_text(encoding="utf-8"))
    meta = json.loads((args.model / "meta.json").read_text(encoding="utf-8"))
    measured = {"int8 file, unseen rows": accuracies(unseen, guesses)} | {f"float, {k}": v for k, v in figures.items()}
    out = [*_accuracy_table(measured), "", *_source_table(measured), "", *_confusions(unseen, guesses), ""]
    out += [*_calibration_table(args.trained / "unseen.npz", meta["temperature"]), "", *_latency_table(model)]
    sys.stdout.write("\n".join(out) + "\n")


def _guesses(model: DomainModel, rows: Sequence[Row]) -> list[int]:
    order = sorted(range(len(rows)), key=lambda n: len(rows[n].text))
    out = [0] * len(rows)
    for at in range(0, len(order), BATCH):
        chosen = order[at : at + BATCH]
        for n, found in zip(chosen, model.classify([rows[n].text for n in chosen]), strict=True):
            out[n] = LABELS.index(found.category)
    return out


def _accuracy_table(measured: dict[str, dict[str, object]]) -> list[str]:
    lines = ["| category | " + " | ".join(measured) + " |", "|---|" + "---|" * len(measured)]
    for label in LABELS:
        cells = []
        for part in measured.values():
            rows, share = part["categories"].get(label, (0, 0.0))  # type: ignore[attr-defined]  # a table of JSON
            cells.append(f"{share:.3f} ({rows})" if rows else "")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines.append("| mean of categories | " + " | ".join(f"{part['macro']:.3f}" for part in measured.values()) + " |")
    overall = (f"{part['accuracy']:.3f} ({part['rows']})" for part in measured.values())
    lines.append("| **all rows** | " + " | ".join(overall) + " |")
    return lines


def _source_table(measured: dict[str, dict[str, object]]) -> list[str]:
    lines = ["| measured | source | rows | accuracy |", "|---|---|---|---|"]
    for name, part in measured.items():
        sources: dict[str, tuple[int, float]] = part["sources"]  # type: ignore[assignment]  # a table of JSON
        lines += [f"| {name} | {source} | {rows} | {share:.3f} |" for source, (rows, share) in sources.items()]
    return lines


def _confusions(rows: Sequence[Row], guesses: Sequence[int]) -> list[str]:
    pairs = Counter((LABELS[r.label], LABELS[g]) for r, g in zip(rows, guesses, strict=True) if r.label != g)
    return [
        "| is | taken for | rows |",
        "|---|---|---|",
        *(f"| {a} | {b} | {n} |" for (a, b), n in pairs.most_common(10)),
    ]


def _calibration_table(path: Path, temperature: float) -> list[str]:
    unseen = np.load(path)
    lines = ["| fold | calibration error | threshold: kept, right |", "|---|---|---|"]
    for fold in ("rows", *FOLDS):
        labels = unseen[f"{fold}.labels"].astype(np.int64)
        likely = probabilities(unseen[f"{fold}.logits"], temperature)
        kept = "; ".join(f"{t:.1f}: {share:.2f}, {right:.2f}" for t, share, right in kept_and_right(likely, labels))
        lines.append(f"| {fold} | {calibration_error(likely, labels):.3f} | {kept} |")
    return lines


def _latency_table(model: DomainModel) -> list[str]:
    """Median time of one call, tokenising included; only ratios carry over to another machine."""
    lines = ["| tokens | texts in the batch | ms a call | ms a text |", "|---|---|---|---|"]
    for words in (16, 64, 256):
        for texts in (1, 8):
            batch = [f"{n} " + "why " * (words - 3) for n in range(texts)]
            model.classify(batch)
            spent = [_seconds(model, batch) for _ in range(REPEATS)]
            each = median(spent) * 1000
            lines.append(f"| {words} | {texts} | {each:.1f} | {each / texts:.1f} |")
    return lines


def _seconds(model: DomainModel, batch: Sequence[str]) -> float:
    start = time.perf_counter()
    model.classify(batch)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
