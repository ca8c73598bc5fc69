"""The linear and the embedded half of tier 0, in torch, for training only: what `semantic.signals.tier0` computes.

Hashed n-grams know what the training rows said; the vectors of word pieces, which start from the encoder's, know their
neighbours too. Both learn from labels and from what the encoder says of the same texts (distillation: Hinton,
Vinyals and Dean, 2015).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.signals.ngrams import WORD_BUCKETS
from semantic.training.tasks import LABELS

# torch is no dependency of the product; imported by name so that type checking does not need it.
torch: Any = import_module("torch")
functional: Any = import_module("torch.nn.functional")

Array = npt.NDArray[Any]
NOTHING = -100
HEADS = {**{task: len(labels) for task, labels in LABELS.items()}, "names": 2}
VECTOR, HIDDEN = 128, 128


@dataclass(frozen=True, slots=True)
class Texts:
    """Features of texts one after another: n-gram buckets and word pieces, and where each text's begin."""

    buckets: Array
    bucket_starts: Array
    pieces: Array
    piece_starts: Array

    @classmethod
    def of(cls, buckets: Sequence[Array], pieces: Sequence[Array]) -> "Texts":
        """Joined; a text without any feature gets bucket or piece 0, which is padding."""
        buckets = [b if len(b) else np.zeros(1, np.int64) for b in buckets]
        pieces = [p if len(p) else np.zeros(1, np.int64) for p in pieces]
        return cls(np.concatenate(buckets), _starts(buckets), np.concatenate(pieces), _starts(pieces))

    def __len__(self) -> int:
        """How many texts."""
        return len(self.bucket_starts) - 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """The knobs of one training of tier 0."""

    epochs: int = 10
    batch: int = 1024
    rate: float = 0.02
    vector_rate: float = 0.004
    decay: float = 0.0
    drop_ngrams: float = 0.35
    """Share of texts that must do without n-grams, so that the vectors learn to."""
    dropout: float = 0.2
    teacher: float = 0.5
    smoothing: float = 0.05
    vectors: bool = True


def fit(
    texts: Texts, labels: Array, teacher: dict[str, Array], vectors: Array, *, recipe: Recipe, device: str
) -> dict[str, Array]:
    """The tables, in float. `labels` has a column a head (NOTHING for none); `teacher` probabilities by head."""
    torch.manual_seed(0)
    width = sum(HEADS.values())
    p = {
        "ngrams": torch.zeros(WORD_BUCKETS, width, device=device),
        "bias": torch.zeros(width, device=device),
        "vectors": torch.tensor(vectors, dtype=torch.float32, device=device),
        "hidden": torch.randn(VECTOR, HIDDEN, device=device) * VECTOR**-0.5,
        "hidden_bias": torch.zeros(HIDDEN, device=device),
        "out": torch.randn(HIDDEN, width, device=device) * 0.02,
    }
    for tensor in p.values():
        tensor.requires_grad_(True)
    rates = {"ngrams": recipe.rate, "vectors": recipe.vector_rate}
    groups = [
        {"params": [t], "lr": rates.get(n, 0.003), "weight_decay": recipe.decay if n == "ngrams" else 0.0}
        for n, t in p.items()
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99))
    held = _held(texts, labels, teacher, device)
    total = recipe.epochs * (len(texts) // recipe.batch)
    step = 0
    for _ in range(recipe.epochs):
        order = torch.randperm(len(texts), device=device)
        for at in range(0, len(texts) - recipe.batch + 1, recipe.batch):
            pace = min(1.0, (step + 1) / (0.05 * total)) * max(0.02, 1 - step / total)
            for group, rate in zip(optimiser.param_groups, [g["lr0"] for g in _rated(optimiser)], strict=True):
                group["lr"] = rate * pace
            loss = _loss(p, held, order[at : at + recipe.batch], recipe)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            step += 1
    return {name: tensor.detach().cpu().numpy() for name, tensor in p.items()}


def _rated(optimiser: Any) -> Any:
    for group in optimiser.param_groups:
        group.setdefault("lr0", group["lr"])
    return optimiser.param_groups


def _held(texts: Texts, labels: Array, teacher: dict[str, Array], device: str) -> dict[str, Any]:
    held = {
        "buckets": torch.tensor(texts.buckets.astype(np.int64), device=device),
        "bucket_starts": torch.tensor(texts.bucket_starts.astype(np.int64), device=device),
        "pieces": torch.tensor(texts.pieces.astype(np.int64), device=device),
        "piece_starts": torch.tensor(texts.piece_starts.astype(np.int64), device=device),
        "labels": torch.tensor(labels.astype(np.int64), device=device),
    }
    return held | {f"teacher.{n}": torch.tensor(v, dtype=torch.float32, device=device) for n, v in teacher.items()}


def _chosen(values: Any, starts: Any, rows: Any) -> tuple[Any, Any]:
    """The features of some texts one after another, and where each begins among them."""
    low, count = starts[rows], starts[rows + 1] - starts[rows]
    begins = torch.cumsum(count, 0) - count
    within = torch.arange(int(count.sum()), device=rows.device) - torch.repeat_interleave(begins, count)
    return values[torch.repeat_interleave(low, count) + within], begins


def _forward(p: dict[str, Any], held: dict[str, Any], rows: Any, recipe: Recipe) -> Any:
    buckets, begins = _chosen(held["buckets"], held["bucket_starts"], rows)
    counts = (held["bucket_starts"][rows + 1] - held["bucket_starts"][rows]).float()
    said = functional.embedding_bag(buckets, p["ngrams"], begins, mode="sum") / counts.sqrt()[:, None]
    if recipe.drop_ngrams:
        said = said * (torch.rand(len(rows), 1, device=rows.device) >= recipe.drop_ngrams)
    out = said + p["bias"]
    if not recipe.vectors:
        return out
    pieces, begins = _chosen(held["pieces"], held["piece_starts"], rows)
    mean = functional.embedding_bag(pieces, p["vectors"], begins, mode="mean")
    mean = functional.dropout(mean, recipe.dropout)
    return out + functional.relu(mean @ p["hidden"] + p["hidden_bias"]) @ p["out"]


def _loss(p: dict[str, Any], held: dict[str, Any], rows: Any, recipe: Recipe) -> Any:
    logits = _forward(p, held, rows, recipe)
    labels = held["labels"][rows]
    loss = at = 0
    for column, (head, classes) in enumerate(HEADS.items()):
        part = logits[:, at : at + classes]
        at += classes
        wanted = labels[:, column]
        hard = functional.cross_entropy(
            part, wanted, reduction="sum", ignore_index=NOTHING, label_smoothing=recipe.smoothing
        )
        if f"teacher.{head}" not in held:
            loss = loss + hard / len(rows)
            continue
        soft = -(held[f"teacher.{head}"][rows] * part.log_softmax(-1)).sum(-1)
        loss = loss + ((1 - recipe.teacher) * hard + recipe.teacher * soft.sum()) / len(rows)
    return loss


def _starts(parts: Sequence[Array]) -> Array:
    return np.concatenate([[0], np.cumsum([len(p) for p in parts])])
