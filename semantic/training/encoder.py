"""The MiniLM encoder with a category head, in torch, for training only. The product runs the ONNX file instead.

Parameter names follow the published checkpoint, so its tensors load as they are.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from semantic.training.arrays import HEADS, LAYERS, NORM_EPSILON, WIDTH, Weights

# torch is no dependency of the product; imported by name so that type checking does not need it.
torch: Any = import_module("torch")
functional: Any = import_module("torch.nn.functional")


def parameters(base: Weights, labels: int, seed: int, device: str) -> dict[str, Any]:
    """Trainable tensors by checkpoint name, with a fresh head. The checkpoint's own pooler is not used."""
    wanted = {name: value for name, value in base.items() if not name.startswith("pooler") and value.dtype.kind == "f"}
    out = {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in wanted.items()}
    if "head.weight" not in out:
        noise = np.random.default_rng(seed).normal(0, 0.02, (labels, WIDTH))
        out["head.weight"] = torch.tensor(noise, dtype=torch.float32, device=device)
        out["head.bias"] = torch.zeros(labels, device=device)
    for tensor in out.values():
        tensor.requires_grad_(True)
    return out


def forward(p: Mapping[str, Any], ids: Any, mask: Any, *, dropout: float) -> tuple[Any, Any]:
    """(logits, mean-pooled embedding) for token ids and their attention mask; a dropout of 0 is for prediction."""
    embed = p["embeddings.word_embeddings.weight"][ids] + p["embeddings.position_embeddings.weight"][: ids.shape[1]]
    embed = embed + p["embeddings.token_type_embeddings.weight"][0]
    x = functional.dropout(_norm(p, "embeddings.LayerNorm", embed), dropout)
    allowed = mask[:, None, None, :].bool()
    for layer in range(LAYERS):
        x = _layer(p, f"encoder.layer.{layer}", x, allowed, dropout)
    weight = mask[:, :, None].to(x.dtype)
    pooled = (x * weight).sum(1) / weight.sum(1)
    logits = functional.linear(functional.dropout(pooled, dropout), p["head.weight"], p["head.bias"])
    return logits, pooled


def _layer(p: Mapping[str, Any], name: str, x: Any, allowed: Any, dropout: float) -> Any:
    batch, length, _ = x.shape
    query, key, value = (
        _linear(p, f"{name}.attention.self.{part}", x).view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=dropout)
    mixed = mixed.transpose(1, 2).reshape(batch, length, WIDTH)
    attended = functional.dropout(_linear(p, f"{name}.attention.output.dense", mixed), dropout)
    x = _norm(p, f"{name}.attention.output.LayerNorm", x + attended)
    inner = functional.gelu(_linear(p, f"{name}.intermediate.dense", x))
    out = functional.dropout(_linear(p, f"{name}.output.dense", inner), dropout)
    return _norm(p, f"{name}.output.LayerNorm", x + out)


def _linear(p: Mapping[str, Any], name: str, x: Any) -> Any:
    return functional.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def _norm(p: Mapping[str, Any], name: str, x: Any) -> Any:
    return functional.layer_norm(x, (WIDTH,), p[f"{name}.weight"], p[f"{name}.bias"], NORM_EPSILON)


def depth(name: str) -> int:
    """How far a parameter is from the head: 0 for the head, LAYERS + 1 for the embeddings."""
    if name.startswith("head"):
        return 0
    if name.startswith("encoder.layer."):
        return LAYERS - int(name.split(".")[2])
    return LAYERS + 1
