"""What the shipped meta.json says of the heads, from what both tiers say of the unseen rows of every fold."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.onnx import read_tokenizer
from semantic.signals.detectors import DETERMINISTIC
from semantic.signals.engine import likely_of
from semantic.signals.tier0 import Words
from semantic.training.calibrate import probabilities
from semantic.training.knobs import Fold, choose, nested, risk_threshold
from semantic.training.tasks import FOLDS, LABELS, PII_TAGS, Example, read_all, split

Array = npt.NDArray[Any]
THRESHOLDS = {"domain": 0.4, "safety": 0.5, "difficulty": 0.6, "reasoning": 0.6, "code": 0.6}
"""Below these a head abstains: set beforehand."""


def read_folds(data: Path, trained: Path, tier0: Path, task: str, head: str | None = None) -> list[Fold]:
    """The folds in which the task has unseen rows, each with the choice of the others (`knobs.nested`).

    `head` is another head than the task's own, over the same rows: what it says has the choice of its own folds.
    """
    folds = _folds(data, trained, tier0, task, head or task)
    if head is None or head == task:
        return list(folds)
    own = {f.name: f.choice for f in _folds(data, trained, tier0, head, head)}
    return [replace(f, choice=own.get(f.name, f.choice)) for f in folds]


@cache
def _folds(data: Path, trained: Path, tier0: Path, task: str, head: str) -> Sequence[Fold]:
    examples = _examples(data)
    folds = []
    for name in names_of(trained):
        unseen = split(examples, name)[1]
        chosen = [n for n, e in enumerate(unseen) if e.task == task]
        if not chosen:
            continue
        rows = [unseen[n] for n in chosen]
        logits = pooled(trained / f"unseen-{name}.npz", len(unseen), head)[chosen]
        path = tier0 / f"tier0-{name}.npz"
        words: Array = np.zeros((0, 0), np.float32)
        if path.exists():
            words = words_of(path, tuple(e.text for e in rows))[head]
        labels = np.array([e.label for e in rows])
        folds.append(Fold(name, rows, labels, logits, words))
    return nested(task, folds) if head == task else folds


def likely(data: Path, trained: Path, tier0: Path, task: str) -> list[tuple[Fold, Array, Array]]:
    """Each fold with the calibrated probabilities of tier 1 and of tier 0, as the product has them."""
    found = [(f, *_both(f)) for f in read_folds(data, trained, tier0, task)]
    if task != "code":
        return found
    place = LABELS["domain"].index("computer science")
    by_domain = [_both(d) for d in read_folds(data, trained, tier0, task, "domain")]
    return [
        (
            f,
            likely_of("code", {"code": one, "domain": domain_one}, place),
            likely_of("code", {"code": zero, "domain": domain_zero}, place),
        )
        for (f, one, zero), (domain_one, domain_zero) in zip(found, by_domain, strict=True)
    ]


def _both(fold: Fold) -> tuple[Array, Array]:
    heats = fold.choice.temperature, fold.choice.tier0_temperature
    return probabilities(fold.answer, heats[0]), probabilities(fold.first, heats[1])


def names_of(trained: Path) -> list[str]:
    """The folds that were trained, the row split first."""
    return [name for name in ("rows", *FOLDS) if (trained / f"unseen-{name}.npz").exists()]


@cache
def _examples(data: Path) -> Sequence[Example]:
    return read_all(data)


def pooled(path: Path, texts: int, head: str) -> Array:
    """Log probabilities of each text, its windows pooled as the product pools them."""
    return pooled_of(dict(np.load(path)), texts, head)


def pooled_of(found: Mapping[str, Array], texts: int, head: str) -> Array:
    """Log probabilities of each text from what `measure.predict` found."""
    at = 0
    for name, labels in LABELS.items():
        if name == head:
            break
        at += len(labels)
    likely = probabilities(found["logits"][:, at : at + len(LABELS[head])].astype(np.float32), 1.0)
    out = np.zeros((texts, likely.shape[1]), np.float32)
    if head == "safety":
        order = np.argsort(likely[:, 2] + likely[:, 3], kind="stable")
        out[found["text"][order]] = likely[order]  # the riskiest window comes last and stays
    else:
        weight = np.maximum(found["tokens"].astype(np.float32), 1)
        np.add.at(out, found["text"], likely * weight[:, None])
        out /= np.maximum(np.bincount(found["text"], weight, texts), 1)[:, None]
    return np.log(np.maximum(out, 1e-9))


@cache
def words_of(path: Path, texts: tuple[str, ...]) -> dict[str, Array]:
    """Logits of tier 0 for texts, by head; the tokenizer lies beside the tables."""
    stored = {key: value for key, value in np.load(path).items() if not key.startswith("language.")}
    words = Words(stored, read_tokenizer(path.with_name("tokenizer.json")))
    rows = [words.split(words.logits(text)) for text in texts]
    return {head: np.stack([row[head] for row in rows]) for head in (*LABELS, "names")}


def settings(data: Path, trained: Path, tier0: Path) -> dict[str, Any]:
    """The contents of meta.json."""
    heads: dict[str, Any] = {}
    tier0_temperatures: dict[str, float] = {"names": 1.0, "language": 1.0}
    risk = 0.5
    for task, labels in LABELS.items():
        folds = read_folds(data, trained, tier0, task)
        choice = choose(task, folds)
        tier0_temperatures[task] = choice.tier0_temperature
        heads[task] = {
            "labels": list(labels),
            "temperature": choice.temperature,
            "threshold": THRESHOLDS[task],
            "sure": choice.sure,
            "blend": choice.blend,
        }
        if task == "safety":
            risk = risk_threshold(folds, choice)
    return {
        "heads": heads,
        "tier0_temperatures": tier0_temperatures,
        "pii": {
            "tags": list(PII_TAGS),
            "threshold": 0.75,
            "names_sure": 0.1,
            "left_to_detectors": sorted(set(DETERMINISTIC) - {"PHONE_NUMBER"}),
        },
        "language": {"threshold": 0.5, "english_min": 0.3},
        "risk_threshold": risk,
    }


def main() -> None:
    """Prints what would be chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "trained", "tier0"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    print(json.dumps(settings(args.data, args.trained, args.tier0), indent=2))  # noqa: T201  # its output is the print


if __name__ == "__main__":
    main()
