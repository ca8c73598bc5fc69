"""What is counted of connections."""

from __future__ import annotations

from typing import Protocol


class Tally(Protocol):
    """Told by connections what becomes of them."""

    def connected(self) -> None:
        """One more."""

    def disconnected(self) -> None:
        """One less."""

    def breached(self, bound: str) -> None:
        """A peer went beyond this bound, and its connection was ended."""


class NoTally:
    """Counts nothing."""

    def connected(self) -> None:
        """One more."""

    def disconnected(self) -> None:
        """One less."""

    def breached(self, bound: str) -> None:
        """A peer went beyond this bound, and its connection was ended."""
