"""Up to which saturation a priority is let go on, by the Go picker's usage limit policies; 1 is full."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal


class UsageLimits(ABC):
    """A policy. Must stay true: a lower priority never has a higher ceiling."""

    @abstractmethod
    def ceiling(self, priority: int, known: Collection[int], saturation: float) -> float:
        """The saturation at which requests of that priority are held, among the priorities that are known."""


@dataclass(frozen=True, slots=True)
class StaticLimit(UsageLimits):
    """`static-usage-limit-policy`: the same for all."""

    threshold: float = 1.0

    def __post_init__(self) -> None:
        if self.threshold <= 0:
            raise ValueError("threshold must be above 0")

    def ceiling(self, priority: int, known: Collection[int], saturation: float) -> float:
        return self.threshold


@dataclass(frozen=True, slots=True)
class Holdback(UsageLimits):
    """`priority-holdback-policy`: in a line from `lowest` for the lowest priority to `highest` for the highest.

    By `rank` priorities are spaced evenly, by `value` as their numbers are.
    """

    lowest: float
    highest: float = 1.0
    domain: Literal["rank", "value"] = "rank"

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= self.highest:
            raise ValueError("lowest must be above 0 and at most highest")

    def ceiling(self, priority: int, known: Collection[int], saturation: float) -> float:
        all_ = sorted({*known, priority})
        if len(all_) == 1:
            return self.highest
        if self.domain == "rank":
            part = all_.index(priority) / (len(all_) - 1)
        else:
            part = (priority - all_[0]) / (all_[-1] - all_[0])
        return self.lowest + part * (self.highest - self.lowest)


@dataclass(frozen=True, slots=True)
class SoftReflective(UsageLimits):
    """`soft-reflective-ceiling-policy`: `1 - i * saturation / (N - 1)` for the i-th of N priorities from the top."""

    def ceiling(self, priority: int, known: Collection[int], saturation: float) -> float:
        all_ = sorted({*known, priority}, reverse=True)
        if len(all_) == 1:
            return 1.0
        return 1.0 - all_.index(priority) * saturation / (len(all_) - 1)
