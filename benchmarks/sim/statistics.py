"""Intervals from a few seeds."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

# Student's t, 97.5 %, for 1 to 30 degrees of freedom; beyond them the last is a little too wide: the safe side.
T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def interval(values: Sequence[float]) -> list[float] | None:
    """The 95 % t-interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = fmean(values)
    half = T_975[min(len(values) - 1, len(T_975)) - 1] * stdev(values) / sqrt(len(values))
    return [mean - half, mean + half]


def jain(values: Sequence[float]) -> float | None:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has all; None where nobody has anything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else None
