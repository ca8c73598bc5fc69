"""The shapes of MiniLM and the type of its weights; no torch here."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

LAYERS, HEADS, WIDTH, INNER = 6, 12, 384, 1536
NORM_EPSILON = 1e-12

Weights = Mapping[str, npt.NDArray[np.float32]]
