"""Knobs are chosen on the other folds than the one that is reported."""

from dataclasses import replace

import numpy as np

from semantic.training.knobs import BLENDS, LOSS_MAX, Choice, Fold, choose, nested
from semantic.training.tasks import LABELS, Example

CLASSES = len(LABELS["domain"])


def fold(name: str, *, words_help: bool, seed: int) -> Fold:
    """Rows on which the encoder is torn and tier 0 is right, or the other way round."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, CLASSES, 400)
    clear = np.eye(CLASSES, dtype=np.float32)[labels] * 4
    torn = chance.normal(0, 1.5, (400, CLASSES)).astype(np.float32)
    encoder, words = (torn, clear) if words_help else (clear, torn)
    return Fold(name, [Example("domain", str(n), int(k), "x") for n, k in enumerate(labels)], labels, encoder, words)


def test_what_is_reported_of_a_fold_takes_the_choice_of_the_others() -> None:
    folds = [
        fold("a", words_help=True, seed=1),
        fold("b", words_help=False, seed=2),
        fold("c", words_help=False, seed=3),
    ]
    chosen = {f.name: f.choice for f in nested("domain", folds)}

    assert chosen["a"] == choose("domain", folds[1:])
    assert chosen["a"].blend == 0.0
    assert chosen["a"].blend < choose("domain", [folds[0]]).blend
    assert chosen["b"] != chosen["a"]


def test_a_folds_own_rows_do_not_move_its_choice() -> None:
    folds = [
        fold("a", words_help=True, seed=1),
        fold("b", words_help=False, seed=2),
        fold("c", words_help=True, seed=3),
    ]
    other = replace(folds[0], labels=np.roll(folds[0].labels, 1))

    assert nested("domain", folds)[0].choice == nested("domain", [other, *folds[1:]])[0].choice


def test_tier_0_is_sure_from_where_it_costs_little() -> None:
    folds = [fold("a", words_help=False, seed=1), fold("b", words_help=True, seed=2)]
    choice = choose("domain", folds)
    losses = []
    for f in folds:
        first = f.words / choice.tier0_temperature
        sure = np.exp(first - np.logaddexp.reduce(first, axis=1, keepdims=True)).max(1) >= choice.sure
        one = f.blended(choice.blend).argmax(1) == f.labels
        losses.append(one.mean() - np.where(sure, f.words.argmax(1) == f.labels, one).mean())

    assert choice.blend in BLENDS
    assert np.mean(losses) <= LOSS_MAX
    assert choice != Choice()
