"""What rules have in common that name one model for `auto`, whatever the load."""

from __future__ import annotations

from abc import abstractmethod

from epp.domain import Candidate, Choice, Request

AUTO = frozenset({"auto"})


class FixedModel:
    """A semantic stage with one answer to each request."""

    aliases = AUTO
    guards = closed = False

    @abstractmethod
    def model(self, request: Request) -> str:
        """Who answers."""

    async def choose(self, request: Request) -> Choice:
        """That model alone."""
        return Choice((Candidate(self.model(request)),))

    async def check(self, request: Request, model: str | None) -> Choice:
        """Nothing is checked."""
        return Choice((Candidate(model),))
