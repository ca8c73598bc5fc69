"""Which of the candidates can do what a request asks: looked at before anything waits, scores or is counted.

Must stay true: nothing is excluded on a guess that could be wrong about everybody. Prompt tokens are an estimate, so
where all models seem too small, those that would do at a fraction of it stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from epp.domain import NO_LIMITS, Candidate, Choice, Exclusion, Limits, Reason, Receipt, Refused, Request
from epp.protocol.needs import media

SURE = 0.5  # of the estimate: text without a tokenizer is never so far off (4 bytes a token; prose has up to 6, code 3)
WORDS = {
    Exclusion.TOOLS: ("calls tools", "tools"),
    Exclusion.IMAGES: ("reads images", "messages"),
    Exclusion.AUDIO: ("hears audio", "messages"),
    Exclusion.JSON_MODE: ("has a JSON mode", "response_format"),
}


def fitting(choice: Choice, request: Request, receipt: Receipt) -> Choice:
    """The choice less the candidates that cannot answer; why goes into the receipt. Raises Refused when none is left.

    Where no weaker model may stand in, weaker is measured against the first that can.
    """
    if not request.never_degrade and not choice.never_degrade and _unlimited(choice):
        return choice
    blind = any(c.limits.images is False or c.limits.audio is False for c in choice.candidates)
    parts = media(request) if blind else (False, False)
    found = {c.model: _unfit(c.limits, request, 1.0, parts) for c in choice.candidates}
    if all(why is not None for why in found.values()):
        found = {c.model: _unfit(c.limits, request, SURE, parts) for c in choice.candidates}
    left = [c for c in choice.candidates if found[c.model] is None]
    receipt.excluded.update({model: why for model, why in found.items() if why is not None})
    if not left:
        raise _refused(choice.candidates, receipt.excluded, request)
    if choice.never_degrade or request.never_degrade:
        weaker = [c for c in left if c.margin > left[0].margin]
        receipt.excluded.update({c.model: Exclusion.NEVER_DEGRADE for c in weaker})
        left = [c for c in left if c not in weaker]
    return choice if len(left) == len(choice.candidates) else replace(choice, candidates=tuple(left))


def _unlimited(choice: Choice) -> bool:
    for candidate in choice.candidates:
        if candidate.limits is not NO_LIMITS:
            return False
    return bool(choice.candidates)


def first(candidate: Candidate, choice: Choice) -> Choice:
    """The same choice with this candidate before the others: what was decided once about a request stays."""
    if candidate not in choice.candidates or candidate is choice.candidates[0]:
        return choice
    return replace(choice, candidates=(candidate, *(c for c in choice.candidates if c != candidate)))


def _unfit(limits: Limits, request: Request, share: float, parts: tuple[bool, bool]) -> Exclusion | None:
    """What a model lacks for this request, its prompt being taken for this share of the estimate."""
    if limits is NO_LIMITS:
        return None
    images, audio = parts
    needs = request.needs
    tokens = request.prompt_tokens * share + (needs.output_tokens or 0)
    if limits.context_tokens is not None and tokens > limits.context_tokens:
        return Exclusion.CONTEXT_LENGTH
    if limits.tools is False and needs.tools:
        return Exclusion.TOOLS
    if limits.json_mode is False and needs.json_mode:
        return Exclusion.JSON_MODE
    if limits.images is False and images:
        return Exclusion.IMAGES
    return Exclusion.AUDIO if limits.audio is False and audio else None


def _refused(candidates: Sequence[Candidate], why: dict[str | None, Exclusion], request: Request) -> Refused:
    """One reason for all as a sentence of its own, several one by one."""
    reasons = {why[c.model] for c in candidates}
    names = _listed(c.model for c in candidates)
    if reasons == {Exclusion.CONTEXT_LENGTH}:
        largest = max(c.limits.context_tokens or 0 for c in candidates)
        output = request.needs.output_tokens
        asked = f"about {request.prompt_tokens} tokens of prompt" + (f" and {output} of output" if output else "")
        message = f"the request asks for {asked}; the largest context of the models that may answer is {largest}"
        return Refused(Reason.CONTEXT_TOO_LONG, f"{message} ({names})", "messages")
    if len(reasons) == 1:
        can, param = WORDS[reasons.pop()]
        return Refused(Reason.CAPABILITY_MISSING, f"none of the models that may answer {can}: {names}", param)
    each = "; ".join(f"{_listed([c.model])}: {why[c.model].value}" for c in candidates)
    return Refused(Reason.CAPABILITY_MISSING, f"no model that may answer can take this request: {each}")


def _listed(models: Iterable[str | None]) -> str:
    return ", ".join(f"`{model}`" for model in models)
