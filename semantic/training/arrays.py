"""The shapes of MiniLM, the type of weights, and the one name that only the teacher has; no torch here."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

LAYERS, HEADS, WIDTH, INNER = 6, 12, 384, 1536
NORM_EPSILON = 1e-12

NEARNESS = "encoder.relative_attention_bias.weight"
"""What MPNet adds to the attention by how far apart two tokens are: [distance, attention head]."""

Weights = Mapping[str, npt.NDArray[np.float32]]
