"""What the signals say of one text: values only, frozen, and nothing of the text itself but places in it."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from semantic.signals.api import Coverage, Span

Tier = Literal[0, 1]
Level = Literal["full", "degraded", "skipped"]
HEADS = ("domain", "safety", "difficulty", "code", "language")


@dataclass(frozen=True, slots=True)
class Head:
    """One head's answer. `label` is the likeliest; `abstained` says that the stage would not act on it."""

    label: str
    probabilities: Mapping[str, float]
    abstained: bool
    tier: Tier

    @property
    def confidence(self) -> float:
        """The probability of the label, 0 to 1."""
        return self.probabilities[self.label]

    def top(self, count: int) -> tuple[tuple[str, float], ...]:
        """The likeliest labels, best first."""
        return tuple(sorted(self.probabilities.items(), key=lambda item: -item[1])[:count])


PiiSpan = Span
"""Where personal data stands, in characters, and how sure that is (1 for what a checksum proves)."""


def touching(spans: Sequence[PiiSpan], start: int, end: int) -> slice:
    """Which of some spans, sorted and apart from each other, share a character with `start` to `end`.

    The slice is empty where none does, and says where a span of these places belongs. By halving: a text of nothing but
    addresses has tens of thousands.
    """
    past = bisect_left(spans, end, key=lambda span: span.start)
    return slice(bisect_right(spans, start, hi=past, key=lambda span: span.end), past)


@dataclass(frozen=True, slots=True)
class TextSignals:
    """All signals of one text. A head that could not be had in time is missing: unknown, not negative.

    `level` is `full` when every wanted head answered over the whole text, `degraded` when something is missing or
    only tier 0 or a part of the text stands in for it, `skipped` when there was nothing to read.
    """

    heads: Mapping[str, Head]
    pii: tuple[PiiSpan, ...]
    coverage: Coverage
    level: Level
    pii_tier: Tier
    pii_complete: bool = True
    """False when only the detectors have looked, although there may be names."""
    embedding: npt.NDArray[np.float32] | None = field(default=None, compare=False)
