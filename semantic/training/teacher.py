"""The teacher: a larger encoder that is tuned like the shipped one, by its side, and never shipped.

all-mpnet-base-v2 (Apache-2.0): 12 layers, 768 wide, 110 M parameters. Its vocabulary is MiniLM's behind four pieces of
its own, so with other names it reads the same token ids and runs as the same graph, which adds what it knows of
distances (`arrays.NEARNESS`).
"""

import numpy as np
import numpy.typing as npt

from semantic.training.arrays import NEARNESS, Weights

OWN_PIECES = 4
START, END = 0, 2
"""Its own marks of a text's start and end; what stands there for [CLS] and [SEP] was never trained."""
CLS, SEP = 101, 102
FIRST_PLACE = 2
"""Places are counted behind the padding's."""
NAMES = {
    "attention.attn.q": "attention.self.query",
    "attention.attn.k": "attention.self.key",
    "attention.attn.v": "attention.self.value",
    "attention.attn.o": "attention.output.dense",
    "attention.LayerNorm": "attention.output.LayerNorm",
}


def as_minilm(base: Weights) -> Weights:
    """The tensors of MPNet under the names and in the order of token ids that MiniLM has; others come back as given."""
    if NEARNESS not in base:
        return base
    out = {_renamed(name): value for name, value in base.items()}
    words = base["embeddings.word_embeddings.weight"]
    own = words[OWN_PIECES:-1].copy()  # the last one is the mask's
    own[[CLS, SEP]] = words[[START, END]]
    out["embeddings.word_embeddings.weight"] = own
    out["embeddings.position_embeddings.weight"] = base["embeddings.position_embeddings.weight"][FIRST_PLACE:]
    out["embeddings.token_type_embeddings.weight"] = np.zeros((1, own.shape[1]), np.float32)
    return {name: _rounded(value) for name, value in out.items()}


def _renamed(name: str) -> str:
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    return name


def _rounded(value: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A matrix in steps of a 127th of each row's largest weight, an error of one in a hundred that tuning makes good.

    So a copy at a quarter of the size starts the same training.
    """
    if value.ndim < 2 or not value.any():
        return value
    step = np.maximum(np.abs(value).max(axis=1, keepdims=True), 1e-12) / 127
    return np.asarray(np.round(value / step) * step, np.float32)
