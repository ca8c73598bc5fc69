"""What the tables of docs/models share: a fold's rows and answers, shares, the area under a curve, a confusion."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.training.knobs import Fold
from semantic.training.settings import pooled, read_folds

Array = npt.NDArray[Any]


def folds_of(args: Any, task: str, head: str | None = None) -> list[Fold]:
    """`read_folds` of the folders on the command line."""
    return read_folds(args.data, args.trained, args.tier0, task, head)


def plain_of(args: Any, task: str, fold: Fold) -> Array:
    """What the plain fine-tune of the task says of the fold's rows."""
    return pooled(args.plain / f"{task}-{fold.name}.npz", len(fold.rows), task)


def shown(hit: Array, wanted: Array) -> str:
    """How many of the wanted rows are hit; nothing where none is wanted."""
    return f"{hit[wanted].mean():.2f}" if wanted.any() else ""


def auc(scores: Array, negatives: int) -> float:
    """Area under the ROC curve; the first scores are the negatives."""
    positives = len(scores) - negatives
    if not negatives or not positives:
        return float("nan")
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return float((ranks[negatives:].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def confusion(fold: Fold, labels: Sequence[str]) -> Iterator[str]:
    """How often each label was taken for which."""
    guess = fold.answer.argmax(1)
    yield "| | " + " | ".join(label[:5] for label in labels) + " |\n|---|" + "---|" * len(labels)
    for label, name in enumerate(labels):
        counts = np.bincount(guess[fold.labels == label], minlength=len(labels))
        yield f"| {name} | " + " | ".join(str(c) for c in counts) + " |"
