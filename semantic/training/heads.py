"""The shared encoder with its heads, in torch, for training only: several models at once, on a model axis.

Parameter names follow the published checkpoint. Stacking makes one large product of many small ones, so that a GPU is
busy; models share nothing but the step. The product runs the ONNX file instead.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from semantic.shapes import SHAPES
from semantic.training.arrays import HEADS, LAYERS, NORM_EPSILON, WIDTH, Weights
from semantic.training.tasks import LABELS, PII_TAGS

# torch is no dependency of the product; imported by name so that type checking does not need it.
torch: Any = import_module("torch")
functional: Any = import_module("torch.nn.functional")

POOLED = tuple(task for task in LABELS if task != "domain")
"""Heads that also read a weighted mean of their own choosing; domain reads the mean alone."""


def parameters(base: Weights, models: int, device: str) -> dict[str, Any]:
    """Trainable tensors by name, one slice a model. All start alike: only then may their weights be averaged."""
    wanted = {name: value for name, value in base.items() if not name.startswith("pooler") and value.dtype.kind == "f"}
    wanted |= {name: value for name, value in _fresh_heads().items() if name not in wanted}
    stacked = {name: np.stack([value] * models) for name, value in wanted.items()}
    out = {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in stacked.items()}
    for tensor in out.values():
        tensor.requires_grad_(True)
    return out


def _fresh_heads() -> dict[str, Any]:
    chance = np.random.default_rng(0)
    heads: dict[str, Any] = {}
    _dense(heads, "head.domain", WIDTH, len(LABELS["domain"]), chance)
    for task in POOLED:
        heads[f"head.{task}.query"] = np.zeros(WIDTH)  # a query of zeros is the mean
        _dense(heads, f"head.{task}", 2 * WIDTH, len(LABELS[task]), chance)
    _dense(heads, "head.pii", WIDTH + 3 * SHAPES, len(PII_TAGS), chance)
    return heads


def _dense(heads: dict[str, Any], name: str, width_in: int, width_out: int, chance: np.random.Generator) -> None:
    heads[f"{name}.weight"] = chance.normal(0, 0.02, (width_out, width_in))
    heads[f"{name}.bias"] = np.zeros(width_out)


def forward(p: Mapping[str, Any], ids: Any, mask: Any, shapes: Any, dropout: float) -> dict[str, Any]:
    """Logits by head for [model, row, token] ids, mask and shape codes; `embedding` is the mean-pooled vector."""
    models, rows, length = ids.shape
    table = p["embeddings.word_embeddings.weight"]
    shifted = ids + (torch.arange(models, device=ids.device) * table.shape[1])[:, None, None]
    embed = (
        functional.embedding(shifted, table.view(-1, WIDTH))
        + p["embeddings.position_embeddings.weight"][:, None, :length]
    )
    embed = embed + p["embeddings.token_type_embeddings.weight"][:, None, :1]
    x = functional.dropout(_norm(p, "embeddings.LayerNorm", embed), dropout)
    allowed = mask.view(models * rows, 1, 1, length).bool()
    for layer in range(LAYERS):
        x = _layer(p, f"encoder.layer.{layer}", x, allowed, dropout)
    return _heads(p, x, mask, shapes, dropout)


def _heads(p: Mapping[str, Any], x: Any, mask: Any, shapes: Any, dropout: float) -> dict[str, Any]:
    weight = mask[..., None].to(x.dtype)
    mean = ((x * weight).sum(2).float() / weight.float().sum(2)).to(x.dtype)
    out = {"embedding": mean, "domain": _linear(p, "head.domain", functional.dropout(mean, dropout))}
    for task in POOLED:
        scores = (x * p[f"head.{task}.query"][:, None, None, :]).sum(-1).masked_fill(mask == 0, -1e4)
        attended = (x * scores.float().softmax(-1)[..., None].to(x.dtype)).sum(2)
        joined = functional.dropout(torch.cat([mean, attended], -1), dropout)
        out[task] = _linear(p, f"head.{task}", joined)
    seen = functional.one_hot(shapes.long(), SHAPES).to(x.dtype)
    before = functional.pad(seen, (0, 0, 1, 0))[:, :, :-1]
    after = functional.pad(seen, (0, 0, 0, 1))[:, :, 1:]
    joined = functional.dropout(torch.cat([x, before, seen, after], -1), dropout)
    out["pii"] = _linear(p, "head.pii", joined)
    return out


def _layer(p: Mapping[str, Any], name: str, x: Any, allowed: Any, dropout: float) -> Any:
    models, rows, length, _ = x.shape
    query, key, value = (
        _linear(p, f"{name}.attention.self.{part}", x)
        .view(models * rows, length, HEADS, WIDTH // HEADS)
        .transpose(1, 2)
        for part in ("query", "key", "value")
    )
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
    mixed = mixed.transpose(1, 2).reshape(models, rows, length, WIDTH)
    attended = functional.dropout(_linear(p, f"{name}.attention.output.dense", mixed), dropout)
    x = _norm(p, f"{name}.attention.output.LayerNorm", x + attended)
    inner = functional.gelu(_linear(p, f"{name}.intermediate.dense", x))
    out = functional.dropout(_linear(p, f"{name}.output.dense", inner), dropout)
    return _norm(p, f"{name}.output.LayerNorm", x + out)


def _linear(p: Mapping[str, Any], name: str, x: Any) -> Any:
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    out = torch.baddbmm(p[f"{name}.bias"][:, None, :], flat, p[f"{name}.weight"].transpose(1, 2))
    return out.view(*x.shape[:-1], out.shape[-1])


def _norm(p: Mapping[str, Any], name: str, x: Any) -> Any:
    plain = functional.layer_norm(x, (WIDTH,), eps=NORM_EPSILON)
    return plain * p[f"{name}.weight"][:, None, None, :] + p[f"{name}.bias"][:, None, None, :]


def depth(name: str) -> int:
    """How far a parameter is from the heads: 0 for a head, LAYERS + 1 for the embeddings."""
    if name.startswith("head"):
        return 0
    if name.startswith("encoder.layer."):
        return LAYERS - int(name.split(".")[2])
    return LAYERS + 1
