"""Chooses what stands beside the trained weights: how much tier 0 counts, the temperatures, and when tier 0 is sure.

Nested: what is reported of a fold takes the choice of the other folds, never its own. What is shipped takes the choice
of all of them. Each fold counts alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.signals.script import HEDGE, is_latin
from semantic.training.calibrate import probabilities, temperature
from semantic.training.tasks import Example

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
BLENDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0)
SURES = tuple(n / 100 for n in range(50, 100))
LOSS_MAX = 0.005
"""What tier 0 may cost on the mean of the folds, of the accuracy that the encoder has where it always runs."""
SURE = {"safety": 0.9, "difficulty": 0.7, "reasoning": 0.7, "code": 0.95}
"""Set beforehand, on the safe side: a guard, and what hangs on few words, go to the encoder. The domain's is chosen."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The knobs of one head: tier 0's weight beside the encoder, both temperatures, from where tier 0 is sure."""

    blend: float = 0.0
    temperature: float = 1.0
    tier0_temperature: float = 1.0
    sure: float = 1.0


@dataclass(frozen=True, slots=True)
class Fold:
    """What both tiers say of a fold's unseen rows of one task: logits of pooled windows, logits of tier 0, labels."""

    name: str
    rows: Sequence[Example]
    labels: Array
    encoder: Array
    words: Array
    choice: Choice = Choice()

    @property
    def answer(self) -> Array:
        """Logits of what the product says where the encoder runs: the encoder's with tier 0's beside them."""
        return self.blended(self.choice.blend)

    def blended(self, blend: float) -> Array:
        """The same with another weight of tier 0."""
        if not blend or not len(self.words):
            return np.asarray(self.encoder + self.hedge)
        words = np.log(np.maximum(probabilities(self.words, 1.0), 1e-9))
        return np.asarray(self.encoder + blend * words + self.hedge)

    @property
    def first(self) -> Array:
        """Logits of what tier 0 alone says."""
        return np.asarray(self.words + self.hedge)

    @property
    def hedge(self) -> Array:
        """What is taken from the attacks' logits where the script is one that the encoder cannot read."""
        out = np.zeros((len(self.rows), self.encoder.shape[1]), np.float32)
        if self.rows and self.rows[0].task == "safety":
            out[np.ix_([not is_latin(e.text) for e in self.rows], (2, 3))] = -HEDGE
        return out


def nested(task: str, folds: Sequence[Fold]) -> list[Fold]:
    """The folds, each with the choice of the others; the only fold there is gets its own."""
    return [replace(f, choice=choose(task, [o for o in folds if o.name != f.name] or folds)) for f in folds]


def choose(task: str, folds: Sequence[Fold]) -> Choice:
    """The knobs that are best on the mean of the folds."""
    goodness: Callable[[Fold, float], float] = _found if task == "safety" else _right
    blend = max(BLENDS, key=lambda b: (round(_mean([goodness(f, b) for f in folds]), 4), -b))
    known = [f for f in folds if len(f.words)]
    heat0 = temperature([(f.first, f.labels) for f in known])
    choice = Choice(blend, temperature([(f.blended(blend), f.labels) for f in folds]), heat0, SURE.get(task, 1.0))
    if task in SURE or not known:
        return choice
    sure = next((s for s in SURES if _mean([_loss(f, choice, s) for f in known]) <= LOSS_MAX), SURES[-1])
    return replace(choice, sure=sure)


def recall(risk: Array, fold: Fold, rate: float = FALSE_ALARMS) -> float:
    """The share of attacks over the risk that so many benign texts, half of them look-alikes, are over."""
    attacks = fold.labels >= 2
    return float((risk[attacks] > np.quantile(risk[benign_half_lookalikes(fold)], 1 - rate)).mean())


def benign_half_lookalikes(fold: Fold) -> Array:
    """Which unseen benign rows count: as many look-alikes as plain ones, drawn with a fixed seed."""
    chance = np.random.default_rng(0)
    look = np.array([e.source.startswith(LOOKALIKES) for e in fold.rows])
    groups = [np.flatnonzero((fold.labels == 0) & kind) for kind in (look, ~look)]
    count = min(len(group) for group in groups)
    return np.concatenate([chance.choice(group, count, replace=False) for group in groups])


def risk_threshold(folds: Sequence[Fold], choice: Choice) -> float:
    """The lowest threshold with at most FALSE_ALARMS on the mean of the folds."""
    scores = []
    for fold in folds:
        likely = probabilities(fold.blended(choice.blend), choice.temperature)
        scores.append((likely[:, 2] + likely[:, 3])[benign_half_lookalikes(fold)])
    steps = np.arange(0.02, 1, 0.005)
    alarms = [np.mean([(s >= step).mean() for s in scores]) for step in steps]
    return round(float(next(step for step, share in zip(steps, alarms, strict=True) if share <= FALSE_ALARMS)), 3)


def _right(fold: Fold, blend: float) -> float:
    return float((fold.blended(blend).argmax(1) == fold.labels).mean())


def _found(fold: Fold, blend: float) -> float:
    likely = probabilities(fold.blended(blend), 1.0)
    return recall(likely[:, 2] + likely[:, 3], fold)


def _loss(fold: Fold, choice: Choice, sure: float) -> float:
    one = fold.blended(choice.blend).argmax(1) == fold.labels
    first = probabilities(fold.first, choice.tier0_temperature)
    both = np.where(first.max(1) >= sure, first.argmax(1) == fold.labels, one)
    return float(one.mean() - both.mean())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
