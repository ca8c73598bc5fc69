"""The two-hop pipeline's first hop: the category's decision names one model, before anything is known of load.

Source: vLLM Semantic Router v0.3, decisions by `domain` signals with the `static` algorithm, whose answer is the first
of `modelRefs`; the picker behind it serves the pool of that model. The decisions are those that our own policy has, and
so are the signals: what differs is that all but the first candidate are dropped.
"""

from __future__ import annotations

from dataclasses import replace

from epp.domain import Choice, Chooser, Request


class CategoryRule:
    """The first candidate of another stage, alone."""

    guards = closed = False

    def __init__(self, stage: Chooser) -> None:
        self._stage = stage

    @property
    def aliases(self) -> frozenset[str]:
        """The stage's."""
        return self._stage.aliases

    async def choose(self, request: Request) -> Choice:
        """One model."""
        choice = await self._stage.choose(request)
        return replace(choice, candidates=choice.candidates[:1])

    async def check(self, request: Request, model: str | None) -> Choice:
        """As the stage does."""
        return await self._stage.check(request, model)
