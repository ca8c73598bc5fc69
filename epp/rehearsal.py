"""Where a request would go if it came now: the same code decides, and nothing is sent, counted, stored or logged.

What only a real request meets is left out: its place in the queue, and the spill of the moment.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from epp import candidates, outcome
from epp.datastore.pool import Pool
from epp.domain import Candidate, Choice, Chooser, Receipt, Refused, Request
from epp.picking import Picking
from epp.protocol import openai
from epp.scheduling.framework import Unmetered

ID, PATH = "dry-run", "/v1/chat/completions"


async def rehearse(receipt: Receipt, body: bytes, chooser: Chooser, picking: Picking) -> None:
    """Fill the receipt with what would be decided; a refusal is what it says then."""
    try:
        request = read(receipt, body)
        receipt.choice = await chosen(receipt, request, chooser, picking.pool)
        if fits(receipt, request):
            pick(receipt, request, chooser, picking)
    except Refused as refused:
        outcome.refuse(refused, receipt)


def read(receipt: Receipt, body: bytes, headers: dict[str, str] | None = None) -> Request:
    """The request, and what the receipt says of it. Raises Refused."""
    request = openai.read(ID, {":method": "POST", ":path": receipt.path, **(headers or {})}, body)
    receipt.asked_model, receipt.prompt_tokens, receipt.outcome = request.model, request.prompt_tokens, "dry run"
    return request


async def chosen(receipt: Receipt, request: Request, chooser: Chooser, pool: Pool) -> Choice:
    """The models that may answer. Raises Refused."""
    model = request.model
    rewritten = pool.policies.rewrite(model, Random())
    if rewritten is not None:
        receipt.rewrite, model = rewritten.rewrite, rewritten.model
    if model is not None and model in chooser.aliases:
        return await chooser.choose(request)
    if chooser.guards:
        return await chooser.check(request, model)
    return Choice((Candidate(model),))


def fits(receipt: Receipt, request: Request) -> bool:
    """Whether a model is to answer, which the receipt then names. Raises Refused."""
    choice = receipt.choice
    assert choice is not None
    if choice.refusal is not None:
        raise choice.refusal
    if choice.answer is not None:
        receipt.outcome, receipt.status = "answered", 200
        return False
    receipt.model = candidates.fitting(choice, request, receipt).candidates[0].model
    return True


def pick(receipt: Receipt, request: Request, chooser: Chooser, picking: Picking) -> None:
    """The endpoint that would be taken; no plugin is told of it, and no time is measured. Raises Refused."""
    assert receipt.choice is not None
    left = tuple(c for c in receipt.choice.candidates if c.model not in receipt.excluded)
    profile = picking.profile
    meter, profile.meter = profile.meter, Unmetered()
    try:
        found = replace(picking, leaving=None).choose(
            request,
            replace(receipt.choice, candidates=left),
            receipt,
            receipt.time,
            prefer=None,
            tried=set(),
            aliases=chooser.aliases,
        )
    finally:
        profile.meter = meter
    receipt.pick, receipt.model, receipt.picked = found.pick, found.candidate.model, found.pick.endpoint.address
    receipt.cached_tokens = found.query.cached.get(found.pick.endpoint, 0)
    receipt.hashed_tokens = found.query.hashed
