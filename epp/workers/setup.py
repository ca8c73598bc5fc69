"""What a worker is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass

from epp.edge.tls import Pair
from epp.settings import Settings


@dataclass(frozen=True, slots=True)
class Port:
    """One ext_proc port; by its place among them it is called."""

    first_of_two: bool
    plaintext: bool


@dataclass(frozen=True, slots=True)
class Setup:
    """`count` workers share what the settings bound for all; without `pair` nothing is served over TLS."""

    settings: Settings
    ports: tuple[Port, ...]
    count: int
    pair: Pair | None
    ready: bool


def part(bound: int, count: int, least: int = 1) -> int:
    """A worker's part of a bound: together they stay below it, unless that were less than the least of use."""
    return max(least, bound // count)
