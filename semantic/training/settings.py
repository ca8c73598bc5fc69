"""Chooses what the shipped meta.json holds: temperatures, abstention and escalation thresholds, from unseen rows only.

Every number is taken over the left-out folds and the row split, each fold counted alike.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.onnx import read_tokenizer
from semantic.signals.detectors import DETERMINISTIC
from semantic.signals.engine import likely_of
from semantic.signals.script import HEDGE, is_latin
from semantic.signals.settings import SHIPPED, Settings
from semantic.signals.tier0 import Words
from semantic.training.calibrate import probabilities, temperature
from semantic.training.tasks import FOLDS, LABELS, PII_TAGS, Example, read_all, split

Array = npt.NDArray[Any]
FALSE_ALARMS = 0.05
LOOKALIKES = (
    "sensitive-words/",
    "stackoverflow-titles-sensitive",
    "template-benign-twin(",
    "handwritten-lookalikes(",
    "cyberseceval-mitre-frr",
    "bipia-train/table-clean",
    "gpteacher-roleplay",
)
THRESHOLDS = {"domain": 0.4, "safety": 0.5, "difficulty": 0.6, "reasoning": 0.6, "code": 0.6}
SURE = {"domain": 0.67, "safety": 0.9, "difficulty": 0.7, "reasoning": 0.7, "code": 0.95}
"""Calibrated confidence from which on tier 0 answers: docs/models/cascade.md has what other values cost and save."""
BLEND = {"domain": 0.4, "safety": 0.4, "difficulty": 0.0, "reasoning": 0.0, "code": 2.0}
"""How much tier 0 counts beside the encoder: what is best over all folds; where it helps none, nothing."""


@dataclass(frozen=True, slots=True)
class Fold:
    """What both tiers say of a fold's unseen rows of one task: logits of pooled windows, logits of tier 0, labels."""

    name: str
    rows: Sequence[Example]
    labels: Array
    encoder: Array
    words: Array
    blend: float = 0.0

    @property
    def answer(self) -> Array:
        """Logits of what the product says where the encoder runs: the encoder's with tier 0's beside them."""
        if not self.blend or not len(self.words):
            return self.encoder + self.hedge
        words = np.log(np.maximum(probabilities(self.words, 1.0), 1e-9))
        return np.asarray(self.encoder + self.blend * words + self.hedge)

    @property
    def first(self) -> Array:
        """Logits of what tier 0 alone says."""
        return self.words + self.hedge

    @property
    def hedge(self) -> Array:
        """What is taken from the attacks' logits where the script is one that the encoder cannot read."""
        out = np.zeros((len(self.rows), self.encoder.shape[1]), np.float32)
        if self.rows and self.rows[0].task == "safety":
            out[np.ix_([not is_latin(e.text) for e in self.rows], (2, 3))] = -HEDGE
        return out


def read_folds(data: Path, trained: Path, tier0: Path, task: str, head: str | None = None) -> list[Fold]:
    """The folds in which the task has unseen rows. `head` is another head than the task's own, over the same rows."""
    examples = _examples(data)
    folds = []
    for name in ("rows", *FOLDS):
        unseen = split(examples, name)[1]
        chosen = [n for n, e in enumerate(unseen) if e.task == task]
        if not chosen or not (trained / f"unseen-{name}.npz").exists():
            continue
        rows = [unseen[n] for n in chosen]
        logits = pooled(trained / f"unseen-{name}.npz", len(unseen), head or task)[chosen]
        path = tier0 / f"tier0-{name}.npz"
        words: Array = np.zeros((0, 0), np.float32)
        if path.exists():
            words = words_of(path, tuple(e.text for e in rows))[head or task]
        labels = np.array([e.label for e in rows])
        folds.append(Fold(name, rows, labels, logits, words, BLEND[head or task]))
    return folds


def likely(data: Path, trained: Path, tier0: Path, task: str, settings: Settings) -> list[tuple[Fold, Array, Array]]:
    """Each fold with the calibrated probabilities of tier 1 and of tier 0, as the product has them."""
    heats = settings.encoder[task].temperature, settings.tier0_temperatures[task]
    folds = read_folds(data, trained, tier0, task)
    found = [(f, probabilities(f.answer, heats[0]), probabilities(f.first, heats[1])) for f in folds]
    if task != "code":
        return found
    heats = settings.encoder["domain"].temperature, settings.tier0_temperatures["domain"]
    by_domain = read_folds(data, trained, tier0, task, "domain")
    place = settings.computer_science
    return [
        (
            f,
            likely_of("code", {"code": one, "domain": probabilities(d.answer, heats[0])}, place),
            likely_of("code", {"code": zero, "domain": probabilities(d.first, heats[1])}, place),
        )
        for (f, one, zero), d in zip(found, by_domain, strict=True)
    ]


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
    """Logits of tier 0 for texts, by head."""
    stored = {key: value for key, value in np.load(path).items() if not key.startswith("language.")}
    words = Words(stored, read_tokenizer(SHIPPED / "tokenizer.json"))
    rows = [words.split(words.logits(text)) for text in texts]
    return {head: np.stack([row[head] for row in rows]) for head in (*LABELS, "names")}


def benign_half_lookalikes(fold: Fold) -> Array:
    """Which unseen benign rows count: as many look-alikes as plain ones, drawn with a fixed seed."""
    chance = np.random.default_rng(0)
    look = np.array([e.source.startswith(LOOKALIKES) for e in fold.rows])
    groups = [np.flatnonzero((fold.labels == 0) & kind) for kind in (look, ~look)]
    count = min(len(group) for group in groups)
    return np.concatenate([chance.choice(group, count, replace=False) for group in groups])


def settings(data: Path, trained: Path, tier0: Path) -> dict[str, Any]:
    """The contents of meta.json."""
    heads: dict[str, Any] = {}
    tier0_temperatures: dict[str, float] = {"names": 1.0, "language": 1.0}
    risk = 0.5
    for task, labels in LABELS.items():
        folds = read_folds(data, trained, tier0, task)
        heat = temperature([(f.answer, f.labels) for f in folds])
        tier0_temperatures[task] = temperature([(f.first, f.labels) for f in folds if len(f.words)])
        heads[task] = {
            "labels": list(labels),
            "temperature": heat,
            "threshold": THRESHOLDS[task],
            "sure": SURE[task],
            "blend": BLEND[task],
        }
        if task == "safety":
            risk = _risk_threshold(folds, heat)
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


def _risk_threshold(folds: Sequence[Fold], heat: float) -> float:
    """The lowest threshold with at most FALSE_ALARMS on the mean of the folds."""
    scores = []
    for fold in folds:
        likely = probabilities(fold.answer, heat)
        scores.append((likely[:, 2] + likely[:, 3])[benign_half_lookalikes(fold)])
    steps = np.arange(0.02, 1, 0.005)
    alarms = [np.mean([(s >= step).mean() for s in scores]) for step in steps]
    return round(float(next(step for step, share in zip(steps, alarms, strict=True) if share <= FALSE_ALARMS)), 3)


def main() -> None:
    """Prints what would be chosen."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "trained", "tier0"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    print(json.dumps(settings(args.data, args.trained, args.tier0), indent=2))  # noqa: T201  # its output is the print


if __name__ == "__main__":
    main()
