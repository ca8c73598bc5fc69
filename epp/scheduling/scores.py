"""Arithmetic that scorers share: what to do with samples that are missing, and the reference's min-max rule."""

from __future__ import annotations

from collections.abc import Sequence

NEUTRAL = 0.5


def fill_unknown(scores: Sequence[float | None]) -> list[float]:
    """Unknown scores become the mean of the known ones, so that silence neither attracts nor repels.

    When none is known all are equal, and the other scorers (the ledger) decide.
    """
    known = [s for s in scores if s is not None]
    mean = sum(known) / len(known) if known else NEUTRAL
    return [mean if s is None else s for s in scores]


def lowest_best(values: Sequence[float | None]) -> list[float | None]:
    """`(max - v) / (max - min)` over the known values, 1 for all of them when they are equal."""
    known = [v for v in values if v is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if low == high:
        return [None if v is None else 1.0 for v in values]
    spread = high - low
    return [None if v is None else (high - v) / spread for v in values]
