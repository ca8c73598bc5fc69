"""Fine-tunes encoder and head on rows: balanced sampling, layer-wise rates, label smoothing, weight averaging."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.training import encoder, user_style
from semantic.training.arrays import Weights
from semantic.training.encoder import functional, torch
from semantic.training.rows import LABELS, Row, family
from semantic.windows import ids_within

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The knobs of one training; the defaults made the shipped file."""

    epochs: int = 4
    batch: int = 64
    rate: float = 6e-5
    head_rate: float = 1e-3
    layer_decay: float = 0.85
    weight_decay: float = 0.01
    warmup: float = 0.08
    dropout: float = 0.1
    smoothing: float = 0.1
    max_tokens: int = 256
    rough: bool = True
    """Whether exam questions are also seen as a person might type them."""
    prompts_share: float = 0.25
    """How many prompts of our own are added, as a share of the rows."""
    balance: float = 0.5
    """Weight of a source family inside its category is its size to this power; 1 keeps the sizes, categories too."""
    average_from: float = 0.5
    """Weights are averaged over the steps after this fraction of the training; 1 turns averaging off."""
    keep: float = 1.0
    """Share of the way from the base encoder to the tuned one that is kept (1: all the way)."""


def tune(
    rows: Sequence[Row], base: Weights, tokenizer: Tokenizer, *, recipe: Recipe, seed: int, device: str
) -> Weights:
    """The tuned tensors by name, in float32 on the CPU."""
    torch.manual_seed(seed)
    p = encoder.parameters(base, len(LABELS), seed, device)
    start = {name: tensor.detach().clone() for name, tensor in p.items()}
    total = recipe.epochs * (_epoch_rows(len(rows), recipe) // recipe.batch)
    optimiser = torch.optim.AdamW(_groups(p, recipe), betas=(0.9, 0.98), fused=device != "cpu")
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _pace(step, total, recipe.warmup))
    mean: dict[str, Any] = {}
    averaged = 0
    for step, (ids, mask, labels) in enumerate(_batches(rows, tokenizer, recipe, seed, device)):
        with torch.autocast(device, dtype=torch.bfloat16):
            logits, _ = encoder.forward(p, ids, mask, dropout=recipe.dropout)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(p.values()), 1.0)
        optimiser.step()
        schedule.step()
        if step >= recipe.average_from * total and step % 10 == 0:
            averaged += 1
            for name, tensor in p.items():
                held = mean.setdefault(name, torch.zeros_like(tensor))
                held.add_(tensor.detach() - held, alpha=1 / averaged)
    final = mean or p
    kept = {n: start[n].lerp(t.detach(), recipe.keep) if not n.startswith("head") else t for n, t in final.items()}
    return {name: tensor.detach().cpu().numpy() for name, tensor in kept.items()}


def predict(weights: Weights, texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int, device: str) -> Array:
    """Logits of the float model for each text."""
    p = {name: torch.tensor(value, device=device) for name, value in weights.items()}
    tokens = [ids_within(e.ids, max_tokens) for e in tokenizer.encode_batch_fast(list(texts))]
    order = sorted(range(len(texts)), key=lambda n: len(tokens[n]))
    out = np.zeros((len(texts), len(LABELS)), dtype=np.float32)
    with torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16, enabled=device != "cpu"):
        for at in range(0, len(order), 256):
            chosen = order[at : at + 256]
            ids, mask = _padded([tokens[n] for n in chosen])
            on_device = (torch.tensor(part, device=device) for part in (ids, mask))
            logits, _ = encoder.forward(p, *on_device, dropout=0.0)
            out[chosen] = logits.float().cpu().numpy()
    return out


def soup(models: Sequence[Weights]) -> Weights:
    """The mean of several trainings that started from the same base: better on unseen sources, no slower."""
    names = list(models[0])
    return {name: np.asarray(np.mean([m[name] for m in models], axis=0), dtype=np.float32) for name in names}


def _epoch_rows(rows: int, recipe: Recipe) -> int:
    return int(rows * (1 + recipe.prompts_share))


def _groups(p: dict[str, Any], recipe: Recipe) -> list[dict[str, Any]]:
    """One parameter group per tensor: the rate falls with the distance from the head."""
    groups = []
    for name, tensor in p.items():
        far = encoder.depth(name)
        rate = recipe.head_rate if far == 0 else recipe.rate * recipe.layer_decay ** (far - 1)
        decay = recipe.weight_decay if tensor.ndim > 1 else 0.0
        groups.append({"params": [tensor], "lr": rate, "weight_decay": decay})
    return groups


def _pace(step: int, total: int, warmup: float) -> float:
    """Linear warm-up, then linear down to a tenth (the averaged tail still has to move)."""
    done = step / max(total, 1)
    return done / warmup if done < warmup else max(0.1, (1 - done) / (1 - warmup))


def _sampling(rows: Sequence[Row], balance: float) -> Array:
    """Probability of each row: categories alike, and inside a category big sources held back."""
    if balance >= 1:
        return np.full(len(rows), 1 / len(rows))
    pairs = [(row.label, family(row.source)) for row in rows]
    sizes = Counter(pairs)
    per_label = np.zeros(len(LABELS))
    for (label, _), size in sizes.items():
        per_label[label] += size**balance
    weight = np.array([sizes[pair] ** (balance - 1) / per_label[pair[0]] for pair in pairs])
    return np.asarray(weight / weight.sum())


def _batches(
    rows: Sequence[Row], tokenizer: Tokenizer, recipe: Recipe, seed: int, device: str
) -> Iterator[tuple[Any, Any, Any]]:
    chance = np.random.default_rng(seed)
    rng = Random(seed)
    likely = _sampling(rows, recipe.balance)
    for _ in range(recipe.epochs):
        picked: list[Row] = [rows[n] for n in chance.choice(len(rows), len(rows), p=likely, replace=recipe.balance < 1)]
        if recipe.rough:
            picked = [user_style.roughen(row, rng) for row in picked]
        picked += user_style.prompts(_epoch_rows(len(rows), recipe) - len(rows), rng)
        rng.shuffle(picked)
        tokens = [ids_within(e.ids, recipe.max_tokens) for e in tokenizer.encode_batch_fast([r.text for r in picked])]
        for chosen in _by_length(tokens, recipe.batch, rng):
            ids, mask = _padded([tokens[n] for n in chosen])
            labels = [picked[n].label for n in chosen]
            to_device = (torch.tensor(part, device=device) for part in (ids, mask, labels))
            yield next(to_device), next(to_device), next(to_device)


def _by_length(tokens: Sequence[Sequence[int]], batch: int, rng: Random) -> list[list[int]]:
    """Batches of rows of like length, in random order; a last short batch is left out."""
    pool = 50 * batch
    out: list[list[int]] = []
    for at in range(0, len(tokens), pool):
        near = sorted(range(at, min(at + pool, len(tokens))), key=lambda n: len(tokens[n]))
        out += [near[n : n + batch] for n in range(0, len(near) - batch + 1, batch)]
    rng.shuffle(out)
    return out


def _padded(tokens: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    longest = max(len(t) for t in tokens)
    ids = np.zeros((len(tokens), longest), dtype=np.int64)
    mask = np.zeros((len(tokens), longest), dtype=np.int64)
    for row, t in enumerate(tokens):
        ids[row, : len(t)] = t
        mask[row, : len(t)] = 1
    return ids, mask
