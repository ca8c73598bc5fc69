"""When a fleet is well again after a step of load."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, floor

WITHIN = 0.05
GRID_S = 1.0
WINDOW_S, WINDOW_REQUESTS = 5.0, 100


def window_s(rate: float) -> float:
    """Whole seconds in which a hundred of the requests come, of which there are `rate` a second; at least five."""
    return max(WINDOW_S, float(ceil(WINDOW_REQUESTS / rate)))


def recovery_s(
    arrived: Sequence[float], good: Sequence[bool], *, before: float, ended: float, until: float, window: float
) -> float | None:
    """Seconds from the end of a step to the first moment from which on all is as well as it was.

    That is the first t on a grid of a second such that in every window `[u, u + window)`, u = t, t + 1, ..., that lies
    before `until`, the fraction of `good` of the requests that arrived there (ascending) is at least `before` less
    0.05. Windows without arrivals say nothing. None: not in the time observed.
    """
    sums = [0, *accumulate(map(int, good))]
    windows = floor((until - ended - window) / GRID_S + 1e-9) + 1
    for n in reversed(range(windows)):
        begin = ended + n * GRID_S
        low, high = bisect_left(arrived, begin), bisect_left(arrived, begin + window)
        if high > low and (sums[high] - sums[low]) / (high - low) < before - WITHIN:
            return None if n == windows - 1 else (n + 1) * GRID_S
    return 0.0 if windows > 0 else None
