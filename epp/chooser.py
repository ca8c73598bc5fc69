"""Adapters between the director's `Chooser` and what answers it: the semantic router, or just a default model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from epp.datastore.pool import Pool
from epp.domain import Candidate, Choice, Edit, Limits, Reason, Refused, Request
from epp.protocol.openai import conversation

if TYPE_CHECKING:
    from semantic import choice as semantic
    from semantic.asked import Asked
    from semantic.router import SemanticRouter
    from semantic.select import Measured

ALIASES = frozenset({"auto", "MoM", "vllm-sr/auto"})
_WHY = {
    "guard_jailbreak": (Reason.GUARD_JAILBREAK, "the request was stopped by the guard `{}`"),
    "guard_pii": (Reason.GUARD_PII, "the request was stopped by the guard `{}`"),
    "guard_unknown": (Reason.GUARD_UNKNOWN, "the guard `{}` could not check the request"),
    "no_candidates": (Reason.SATURATED, "every model of the decision is over its limits"),
}


class SemanticChooser:
    """The semantic stage: request -> decision -> ordered candidates. `router` says which one is in use now.

    Unless it `remembers`, a choice is of no consequence for later turns of its conversation.
    """

    def __init__(
        self,
        router: Callable[[], SemanticRouter],
        deadline_s: float,
        pool: Pool | None = None,
        *,
        remembers: bool = True,
    ) -> None:
        self._router = router
        self._deadline_s = deadline_s
        self._pool = pool
        self._remembers = remembers

    @property
    def aliases(self) -> frozenset[str]:
        return self._router().aliases

    @property
    def guards(self) -> bool:
        return self._router().blocks

    @property
    def closed(self) -> bool:
        return self._router().closed

    async def choose(self, request: Request) -> Choice:
        router, what = self._router(), asked(request)
        if self._remembers:
            found = await router.choose(what, self._deadline_s, self._measured)
        else:
            found = (await router.weigh(what, self._deadline_s, self._measured)).choice
        return choice_of(found, tuple(candidate_of(one) for one in found.candidates))

    async def check(self, request: Request, model: str | None) -> Choice:
        found = await self._router().check(asked(request), self._deadline_s)
        return choice_of(found, (Candidate(model),))

    def _measured(self, model: str) -> Measured:
        """How busy the endpoints of a model are: requests in flight on each, and the wait at the least busy one."""
        from semantic.select import Measured  # noqa: PLC0415  # only who routes by prompt loads the stage

        endpoints = [e for e in self._pool.endpoints if model in (e.serves or ())] if self._pool else []
        if not endpoints:
            return Measured()
        inflight = sum(e.inflight_requests for e in endpoints) / len(endpoints)
        return Measured(inflight, min(e.work_s for e in endpoints))


class DefaultModelChooser:
    """Semantic routing is off: an alias means the default model, the pool's only base model, or a server's own name."""

    guards = closed = False

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

    async def check(self, request: Request, model: str | None) -> Choice:
        return Choice((Candidate(model),))

    def _only_model(self) -> str | None:
        bases = set(self._pool.models().values()) - ALIASES
        return bases.pop() if len(bases) == 1 else None


def asked(request: Request) -> Asked:
    """The request as the semantic stage sees it. A prompt that we were not shown, or cannot read, is not legible."""
    from semantic.asked import Asked, kind_of  # noqa: PLC0415  # only who routes by prompt loads the stage

    body = _object(request.body) if request.prompt else {}
    return Asked(
        turns=conversation(request),
        model=request.model,
        kind=kind_of(request.path),
        body=body,
        prompt_tokens=request.prompt_tokens,
        tenant=request.tenant,
        session=request.session,
        stream=request.stream,
        legible=request.method != "POST" or bool(body),
    )


def _object(body: bytes) -> Mapping[str, Any]:
    """What is no JSON object reads as empty; so does what no engine could read either."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            decoded = json.loads(body)  # numbers of any size
        except (ValueError, RecursionError):
            return {}
    return decoded if isinstance(decoded, dict) else {}


def choice_of(found: semantic.Choice, candidates: tuple[Candidate, ...]) -> Choice:
    signals: dict[str, Any] = {"matched": dict(found.matched), "unknown": list(found.unknown)}
    signals["denied"], signals["heads"] = found.denied, found.heads
    signals["coverage"] = {"scanned_bytes": found.coverage.scanned_bytes, "total_bytes": found.coverage.total_bytes}
    refusal = None
    if found.refusal is not None:
        reason, message = _WHY[found.refusal]
        refusal = Refused(reason, message.format(found.guard))
    return Choice(
        candidates=candidates,
        decision=found.decision,
        category=found.category,
        confidence=found.confidence,
        classification=found.classification,
        reason=found.reason,
        answer=found.answer,
        refusal=refusal,
        signals=signals,
        never_degrade=found.never_degrade,
    )


def candidate_of(found: semantic.Candidate) -> Candidate:
    lowered = None if found.lowered is None else tuple(Edit(e.mode, e.path, e.value) for e in found.lowered)
    can = found.abilities
    return Candidate(
        found.model,
        found.margin,
        found.quality,
        Limits(found.context_tokens, can.tools, can.images, can.audio, can.json_mode),
        edits=tuple(Edit(e.mode, e.path, e.value) for e in found.edits),
        headers=tuple((h.name, h.value) for h in found.headers),
        lowered=lowered,
        waiting_max=found.waiting_max,
    )
