"""Fine-tunes several multi-head models in step: layer-wise rates, label smoothing, weight averaging, a time limit."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from semantic.training import heads
from semantic.training.arrays import Weights
from semantic.training.heads import functional, torch
from semantic.training.mixture import NOTHING, Batch
from semantic.training.tasks import LABELS

Array = npt.NDArray[Any]
SPEED_STEPS = 40


@dataclass(frozen=True, slots=True)
class Recipe:
    """The knobs of one training; the defaults made the shipped file."""

    epochs: float = 4
    batch: int = 64
    rate: float = 6e-5
    head_rate: float = 1e-3
    layer_decay: float = 0.85
    weight_decay: float = 0.01
    warmup: float = 0.08
    dropout: float = 0.1
    smoothing: float = 0.1
    average_from: float = 0.5
    """Weights are averaged over the steps after this fraction of the training; 1 turns averaging off."""


LOSS_WEIGHTS = {"domain": 1.0, "safety": 1.3, "difficulty": 0.7, "reasoning": 0.7, "code": 0.7, "pii": 2.5}


def tune(
    base: Weights,
    seeds: list[int],
    steps: Iterator[list[Batch]],
    *,
    total: int,
    recipe: Recipe,
    device: str,
    seconds_max: float,
    say: Callable[[str], None],
) -> list[dict[str, Array]]:
    """The tuned tensors of each model. `steps` gives one batch a model; the total shrinks to fit the time."""
    torch.manual_seed(seeds[0])
    p = heads.parameters(base, len(seeds), device)
    optimiser = torch.optim.AdamW(_groups(p, recipe), betas=(0.9, 0.98), fused=device != "cpu")
    rates = [group["lr"] for group in optimiser.param_groups]
    mean: dict[str, Any] = {}
    averaged = 0
    began = time.monotonic()
    for step, batches in enumerate(steps):
        if step == SPEED_STEPS:
            warm = time.monotonic()
        if step == 4 * SPEED_STEPS:
            each = (time.monotonic() - warm) / (3 * SPEED_STEPS)
            fits = step + int((seconds_max - (time.monotonic() - began)) / (each * 1.05))
            say(f"{each * 1000:.1f} ms a step, {total} steps wanted, {fits} fit")
            total = min(total, fits)
        if step >= total:
            break
        pace = _pace(step, total, recipe.warmup)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * pace
        loss = _loss(p, batches, recipe, device)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        _clip(p)
        optimiser.step()
        if step % 500 == 0:
            say(f"step {step} of {total}, loss {loss.item() / len(seeds):.3f}, {time.monotonic() - began:.0f} s")
        if step >= recipe.average_from * total and step % 10 == 0:
            averaged += 1
            for name, tensor in p.items():
                held = mean.setdefault(name, torch.zeros_like(tensor, requires_grad=False))
                held.add_(tensor.detach() - held, alpha=1 / averaged)
    final = {name: tensor.detach().cpu().numpy() for name, tensor in (mean or p).items()}
    return [{name: value[n] for name, value in final.items()} for n in range(len(seeds))]


def _loss(p: dict[str, Any], batches: Sequence[Batch], recipe: Recipe, device: str) -> Any:
    ids, mask, shapes, labels, tags = (torch.tensor(part, device=device) for part in _stacked(batches))
    # One cast of all weights a step, instead of autocast's of every operand: half the kernels and half the traffic.
    half = {name: tensor.to(torch.bfloat16) for name, tensor in p.items()}
    out = heads.forward(half, ids.long(), mask, shapes, recipe.dropout)
    rows = ids.shape[1]
    loss = 0.0
    for column, task in enumerate(LABELS):
        wanted = labels[:, :, column].long()
        each = functional.cross_entropy(
            out[task].float().flatten(0, 1),
            wanted.flatten(),
            reduction="sum",
            label_smoothing=recipe.smoothing,
            ignore_index=NOTHING,
        )
        loss = loss + LOSS_WEIGHTS[task] * each / rows
    wanted = tags.long()
    each = functional.cross_entropy(
        out["pii"].float().flatten(0, 2), wanted.flatten(), reduction="none", ignore_index=NOTHING
    ).view(wanted.shape)
    per_row = each.sum(2) / (wanted != NOTHING).sum(2).clamp(min=1)
    return loss + LOSS_WEIGHTS["pii"] * per_row.sum() / rows


def _clip(p: dict[str, Any]) -> None:
    """Scales the gradient of each model down to a norm of 1."""
    squares = [t.grad.flatten(1).pow(2).sum(1) for t in p.values() if t.grad is not None]
    scale = (1 / (torch.stack(squares).sum(0).sqrt() + 1e-6)).clamp(max=1)
    for t in p.values():
        if t.grad is not None:
            t.grad.mul_(scale.view(-1, *([1] * (t.grad.ndim - 1))))


def _stacked(batches: Sequence[Batch]) -> tuple[Array, ...]:
    """The batches of all models with a model axis in front, padded alike."""
    longest = max(b.ids.shape[1] for b in batches)

    def wide(part: str, fill: int) -> Array:
        arrays = [getattr(b, part) for b in batches]
        return np.stack([np.pad(a, ((0, 0), (0, longest - a.shape[1])), constant_values=fill) for a in arrays])

    labels = np.stack([b.labels for b in batches])
    return wide("ids", 0), wide("mask", 0), wide("shapes", 0), labels, wide("tags", NOTHING)


def _groups(p: dict[str, Any], recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups of one rate each, which falls with the distance from the heads."""
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, tensor in p.items():
        far = heads.depth(name)
        rate = recipe.head_rate if far == 0 else recipe.rate * recipe.layer_decay ** (far - 1)
        decay = recipe.weight_decay if tensor.ndim > 2 else 0.0
        groups.setdefault((rate, decay), []).append(tensor)
    return [{"params": tensors, "lr": rate, "weight_decay": decay} for (rate, decay), tensors in groups.items()]


def _pace(step: int, total: int, warmup: float) -> float:
    """Linear warm-up, then linear down to a tenth (the averaged tail still has to move)."""
    done = step / max(total, 1)
    return max(done, 1e-3) / warmup if done < warmup else max(0.1, (1 - done) / (1 - warmup))


def soup(models: Sequence[Weights]) -> dict[str, Array]:
    """The mean of several trainings that started from the same base: better on unseen sources, no slower."""
    return {name: np.asarray(np.mean([m[name] for m in models], axis=0, dtype=np.float32)) for name in models[0]}
