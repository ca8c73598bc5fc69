"""Counting together what was met one by one: a request only writes down, and pays a fraction of what counting costs.

Must stay true: no more than `TOGETHER` wait to be counted, and whoever reads counts has `settle` called first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

TOGETHER = 64  # counting these takes about 0.2 ms; of more, each would hardly cost less

T = TypeVar("T")


class Settles(Protocol):
    """Has something to count yet."""

    def settle(self) -> None:
        """Count it."""


class Late(Generic[T]):
    """What is to be counted; `count` takes it in the order in which it came."""

    __slots__ = ("_count", "_met")

    def __init__(self, count: Callable[[list[T]], None]) -> None:
        self._count = count
        self._met: list[T] = []

    def add(self, one: T) -> None:
        """To be counted, with others."""
        self._met.append(one)
        if len(self._met) >= TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Count what there is."""
        if self._met:
            met, self._met = self._met, []
            self._count(met)
