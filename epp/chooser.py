"""Adapters between the director's `Chooser` and what answers it: the semantic router, or just a default model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epp.datastore.pool import Pool
from epp.domain import Candidate, Choice, Limits, Reason, Refused, Request
from epp.protocol.openai import conversation

if TYPE_CHECKING:
    from semantic.router import SemanticRouter

ALIASES = frozenset({"auto", "MoM", "vllm-sr/auto"})


class SemanticChooser:
    """The semantic stage: prompt -> decision -> ordered candidates."""

    def __init__(self, router: SemanticRouter, deadline_s: float) -> None:
        self._router = router
        self._deadline_s = deadline_s

    @property
    def aliases(self) -> frozenset[str]:
        return self._router.aliases

    async def choose(self, request: Request) -> Choice:
        found = await self._router.choose(conversation(request), self._deadline_s)
        return Choice(
            candidates=tuple(map(self._candidate, found.models, found.margins)),
            decision=found.decision,
            category=found.category,
            confidence=found.confidence,
            classification=found.classification,
            reason=found.reason,
            never_degrade=found.never_degrade,
        )

    def _candidate(self, model: str, margin: float) -> Candidate:
        """What the configuration says of the model; a model without a card can do anything."""
        card, can = self._router.cards.get(model), self._router.abilities.get(model)
        if card is None or can is None:
            return Candidate(model, margin)
        limits = Limits(card.context_tokens, can.tools, can.images, can.audio, can.json_mode)
        return Candidate(model, margin, card.quality, limits)


class DefaultModelChooser:
    """Semantic routing is off: an alias means the default model, the pool's only base model, or a server's own name."""

    def __init__(self, pool: Pool, default_model: str | None) -> None:
        self._pool = pool
        self._default_model = default_model

    @property
    def aliases(self) -> frozenset[str]:
        return ALIASES

    async def choose(self, request: Request) -> Choice:
        model = self._default_model or self._only_model()
        if model is None and request.model in self._pool.models():
            return Choice((Candidate(request.model),))
        if model is None:
            message = f"the model `{request.model}` has no meaning here: semantic routing is off and no default is set"
            raise Refused(Reason.MODEL_NOT_FOUND, message, "model")
        return Choice((Candidate(model),), reason=f"semantic routing is off, the default model is {model}")

    def _only_model(self) -> str | None:
        bases = set(self._pool.models().values()) - ALIASES
        return bases.pop() if len(bases) == 1 else None
