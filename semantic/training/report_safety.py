"""The tables of docs/models/safety.md: recall at shares of false alarms, how sure that is, and what alarms."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.signals.script import is_latin
from semantic.training.calibrate import probabilities
from semantic.training.knobs import Fold, benign_half_lookalikes
from semantic.training.tables import auc, confusion, folds_of, plain_of, shown
from semantic.training.tasks import LABELS, Example, family

Array = npt.NDArray[Any]
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
DRAWS = 1_000


def safety(args: Any) -> Iterator[str]:
    """Curves of every fold, their intervals, and sources over the threshold."""
    yield "Recall of injections, jailbreaks, and both, at a share of false alarms among benign texts, half look-alikes."
    yield (
        "\n| fold | benign | "
        + " | ".join(f"{r:.1%}" for r in RATES)
        + " | AUC |\n|---|---|"
        + "---|" * (len(RATES) + 1)
    )
    for fold in folds_of(args, "safety"):
        yield _curve(fold, fold.name, fold.answer)
        latin = np.array([is_latin(e.text) for e in fold.rows])
        if not latin.all():
            yield _curve(fold, f"{fold.name}, Latin letters", fold.answer, latin)
        if args.plain:
            yield _curve(fold, f"{fold.name}, plain", plain_of(args, "safety", fold))
    yield f"\nRecall of both, between which 95 % of {DRAWS:,} draws of the fold's texts with replacement are\n"
    yield "| fold | " + " | ".join(f"{r:.1%}" for r in RATES) + " |\n|---|" + "---|" * len(RATES)
    for fold in folds_of(args, "safety"):
        yield _interval(fold)
    yield "\nShare of each source over the fold's threshold of 5 %\n"
    yield "| fold | source | label | rows | over |\n|---|---|---|---|---|"
    for fold in folds_of(args, "safety"):
        risk = _risk(fold.answer)
        over = risk > np.quantile(risk[benign_half_lookalikes(fold)], 0.95)
        groups = sorted({(_origin(e), e.label) for e in fold.rows})
        for name, label in groups:
            here = np.array([(_origin(e), e.label) == (name, label) for e in fold.rows])
            if here.sum() >= 20:
                yield f"| {fold.name} | {name} | {LABELS['safety'][label]} | {here.sum()} | {over[here].mean():.2f} |"
    yield "\nConfusion on `rows`\n"
    yield from confusion(folds_of(args, "safety")[0], LABELS["safety"])


def _curve(fold: Fold, name: str, logits: Array, seen: Array | None = None) -> str:
    risk, benign = _risk(logits), benign_half_lookalikes(fold)
    seen = np.full(len(risk), fill_value=True) if seen is None else seen
    benign = benign[seen[benign]]
    cells = []
    for rate in RATES:
        over = risk > np.quantile(risk[benign], 1 - rate)
        cells.append(
            ", ".join(
                shown(over, seen & wanted) or "-" for wanted in (fold.labels == 2, fold.labels == 3, fold.labels >= 2)
            )
        )
    attacks = risk[seen & (fold.labels >= 2)]
    return (
        f"| {name} | {len(benign)} | "
        + " | ".join(cells)
        + f" | {auc(np.r_[risk[benign], attacks], len(benign)):.3f} |"
    )


def _interval(fold: Fold) -> str:
    chance, risk = np.random.default_rng(0), _risk(fold.answer)
    groups = risk[benign_half_lookalikes(fold)], risk[fold.labels >= 2]
    found = []
    for _ in range(DRAWS):
        benign, attacks = (chance.choice(group, len(group)) for group in groups)
        found.append([(attacks > np.quantile(benign, 1 - rate)).mean() for rate in RATES])
    low, high = np.quantile(np.array(found), (0.025, 0.975), axis=0)
    cells = (f"{least:.2f} to {most:.2f}" for least, most in zip(low, high, strict=True))
    return f"| {fold.name} | " + " | ".join(cells) + " |"


def _risk(logits: Array) -> Array:
    likely = probabilities(logits, 1.0)
    return np.asarray(likely[:, 2] + likely[:, 3])


def _origin(example: Example) -> str:
    return family(example.source) if example.label else example.source.split("/")[0]
