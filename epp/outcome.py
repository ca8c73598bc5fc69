"""What the director returns, and how it is made: a route with its header changes, or an answer of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from epp.datastore.pool import Lease
from epp.domain import Edit, Reason, Receipt, Refused, Request
from epp.flow.eviction import Running
from epp.protocol import openai
from epp.protocol.canned import canned
from epp.protocol.errors import refusal
from epp.protocol.exchange import Route
from epp.protocol.headers import (
    CLASSIFICATION,
    CONTROL,
    RECEIPT,
    REQUEST_ID,
    SELECTED_MODEL,
    VSR_CATEGORY,
    VSR_DECISION,
    VSR_MODEL,
)
from epp.protocol.messages import Immediate
from epp.protocol.paths import error_shape
from epp.protocol.splice import edited
from epp.scheduling.framework import Extra, Query

_OURS = CONTROL | {SELECTED_MODEL}  # nobody else may say these


@dataclass(slots=True)
class Routed:
    """Go there; the lease is the caller's to close.

    `lease` is None where a second stream of the same request takes it, `query` where no profile chose. `running` is
    there while the request may be cut off for others.
    """

    route: Route
    lease: Lease | None
    receipt: Receipt
    query: Query | None = None
    running: Running | None = None


@dataclass(slots=True)
class Answered:
    """An answer of our own."""

    immediate: Immediate
    receipt: Receipt


def route(
    headers: Mapping[str, str],
    request: Request,
    address: str | None,
    model: str | None,
    receipt: Receipt,
    *,
    edits: Sequence[Edit] = (),
) -> Route:
    """To `address` (None: wherever a second filter says), as `model` (None: as the client named it, if it did).

    Only headers that change are touched, and of the body only what `edits` and the model's name change.
    """
    way = plain_route(headers, address, receipt)
    if model is None:
        return way
    if SELECTED_MODEL in way.remove_headers:
        way.remove_headers = [name for name in way.remove_headers if name != SELECTED_MODEL]
    way.model_changed = headers.get(SELECTED_MODEL) != model
    if way.model_changed:
        way.set_headers = [(SELECTED_MODEL, model), *way.set_headers]
    if request.model_span is not None and model != request.model:
        way.body = openai.with_model(request, model)
    if edits and request.model_span is not None:
        before = request.body if way.body is None else way.body
        after = edited(before, edits)
        way.body = way.body if after == before else after
    return way


def with_headers(way: Route, headers: Sequence[tuple[str, str | None]], given: Mapping[str, str]) -> Route:
    """The same way with a decision's own headers set, or removed (None) where the client `given` them."""
    changed = dict(headers)
    if not changed:
        return way
    kept = [(name, value) for name, value in way.set_headers if name not in changed]
    way.set_headers = [*kept, *((name, value) for name, value in changed.items() if value is not None)]
    gone = {name for name, value in changed.items() if value is None and name in given}
    way.remove_headers = sorted({*way.remove_headers, *gone} - {name for name, _ in way.set_headers})
    way.model_changed = way.model_changed or SELECTED_MODEL in changed
    return way


def plain_route(headers: Mapping[str, str], address: str | None, receipt: Receipt) -> Route:
    """To `address` as the request is, without what clients may not say, and with a request id."""
    return Route(
        destination=address,
        set_headers=[] if headers.get(REQUEST_ID) else [(REQUEST_ID, receipt.request_id)],
        remove_headers=sorted(_OURS.intersection(headers)),
        response_headers=response_headers(receipt),
    )


def bring(way: Route, extra: Extra | None) -> None:
    """What the choice brings along, if it does: headers for the model server, which no client may set, and metadata."""
    if extra is None:
        return
    if extra.headers:
        names = {name for name, _ in extra.headers}
        way.set_headers = [*way.set_headers, *extra.headers]
        way.remove_headers = [name for name in way.remove_headers if name not in names]
    way.metadata = extra.metadata or None


def response_headers(receipt: Receipt) -> list[tuple[str, str]]:
    """What the client is told: model, decision, category, how it was classified, and where to read why."""
    choice = receipt.choice
    if choice is None:
        told = _told(receipt.model, None, None, None)
    else:
        told = _told(receipt.model, choice.decision, choice.category, choice.classification)
    return [*told, (RECEIPT, receipt.id)]


@lru_cache(1024)
def _told(
    model: str | None, decision: str | None, category: str | None, classification: str | None
) -> list[tuple[str, str]]:
    """What is the same for many requests."""
    pairs = ((VSR_MODEL, model), (VSR_DECISION, decision), (VSR_CATEGORY, category), (CLASSIFICATION, classification))
    return [(name, value) for name, value in pairs if value]


def models(roots: Mapping[str, str], aliases: frozenset[str], receipt: Receipt) -> Answered:
    """The answer to `GET /v1/models`: what the pool serves, and the aliases."""
    names = sorted(roots) + sorted(aliases - roots.keys())
    receipt.outcome, receipt.status = "answered", 200
    headers = [("content-type", "application/json"), (RECEIPT, receipt.id)]
    return Answered(Immediate(200, headers, openai.models_page(names, roots), "onehop_models"), receipt)


def answered(message: str, request: Request, receipt: Receipt, created: int) -> Answered:
    """A decision's own message instead of a model's answer. Raises Refused where clients expect no text."""
    immediate = canned(request.path, message, stream=request.stream, name=receipt.id, created=created)
    if immediate is None:
        raise Refused(Reason.BAD_REQUEST, message)
    receipt.outcome, receipt.status = "answered", immediate.status
    immediate.headers = [*immediate.headers, *response_headers(receipt)]
    return Answered(immediate, receipt)


def refuse(refused: Refused, receipt: Receipt, retry_after_s: int | None = None) -> Answered:
    """The refusal as the client sees it; `retry_after_s` as in `errors.refusal`."""
    receipt.outcome, receipt.status, receipt.message = refused.reason.code, refused.reason.status, refused.message
    immediate = refusal(refused, error_shape(receipt.path), retry_after_s)
    immediate.headers = [*immediate.headers, (RECEIPT, receipt.id)]
    return Answered(immediate, receipt)
