"""How a token is written: the encoder reads lower case only, and names show by their capitals."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

OTHER, LOWER, CAPITAL, UPPER, DIGIT = range(5)
SHAPES = 5


def shape_codes(text: str, offsets: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """One code for each token: digits in it, all capitals, a capital first, lower case, or none of these."""
    return np.fromiter((_code(text[start:end]) for start, end in offsets), dtype=np.int64, count=len(offsets))


def _code(piece: str) -> int:
    if piece.islower():
        return LOWER
    if piece.isalpha():
        return UPPER if len(piece) > 1 and piece.isupper() else CAPITAL if piece[0].isupper() else OTHER
    return DIGIT if any(c.isdigit() for c in piece) else OTHER
