"""Runs a trained model, in float, over the rows it never saw; what it says is kept by window, for any pooling later."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from semantic.shapes import shape_codes
from semantic.training import heads
from semantic.training.arrays import Weights
from semantic.training.heads import torch
from semantic.training.tasks import LABELS
from semantic.windows import windows_of

Array = npt.NDArray[Any]
_CLS, _SEP = 101, 102


def predict(weights: Weights, texts: Sequence[str], tokenizer: Tokenizer, device: str) -> dict[str, Array]:
    """`text` (which text a window is of), a column of logits per label of every head, and the tags of its tokens.

    `tags` and `tag_scores` are the likeliest tag and its probability, one after another over all windows without
    their special tokens; `tokens` is how many each window has.
    """
    p = {name: torch.tensor(value[None], device=device) for name, value in weights.items()}
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    parts = [(n, low, high) for n, e in enumerate(encodings) for low, high in windows_of(len(e.ids))]
    order = sorted(range(len(parts)), key=lambda k: parts[k][2] - parts[k][1])
    logits = np.zeros((len(parts), sum(len(labels) for labels in LABELS.values())), np.float32)
    tags: list[Array] = [np.zeros(0)] * len(parts)
    scores: list[Array] = [np.zeros(0)] * len(parts)
    kind = torch.device(device).type
    with torch.no_grad(), torch.autocast(kind, dtype=torch.bfloat16, enabled=kind != "cpu"):
        for at in range(0, len(order), 256):
            chosen = order[at : at + 256]
            arrays = _padded([_window(texts, encodings, parts[k]) for k in chosen])
            ids, mask, shapes = (torch.tensor(a, device=device)[None] for a in arrays)
            out = heads.forward(p, ids, mask, shapes, 0.0)
            logits[chosen] = torch.cat([out[task][0].float() for task in LABELS], -1).cpu().numpy()
            best, tag = out["pii"][0].float().softmax(-1).max(-1)
            best, tag = best.cpu().numpy(), tag.cpu().numpy()
            for row, k in enumerate(chosen):
                count = parts[k][2] - parts[k][1]
                tags[k] = tag[row, 1 : count + 1].astype(np.int8)
                scores[k] = best[row, 1 : count + 1].astype(np.float16)
    return {
        "text": np.array([n for n, _, _ in parts], np.int32),
        "logits": logits.astype(np.float16),
        "tokens": np.array([high - low for _, low, high in parts], np.int16),
        "tags": np.concatenate(tags).astype(np.int8),
        "tag_scores": np.concatenate(scores).astype(np.float16),
    }


def _window(texts: Sequence[str], encodings: Sequence[Any], part: tuple[int, int, int]) -> tuple[list[int], Array]:
    n, low, high = part
    shapes = shape_codes(texts[n], encodings[n].offsets[low:high])
    return [_CLS, *encodings[n].ids[low:high], _SEP], np.concatenate([[0], shapes, [0]])


def _padded(rows: Sequence[tuple[list[int], Array]]) -> tuple[Array, Array, Array]:
    longest = max(len(ids) for ids, _ in rows)
    ids, mask, shapes = (np.zeros((len(rows), longest), np.int64) for _ in range(3))
    for n, (row, codes) in enumerate(rows):
        ids[n, : len(row)], mask[n, : len(row)], shapes[n, : len(row)] = row, 1, codes
    return ids, mask, shapes
