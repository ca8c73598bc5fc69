"""The order of a request's steps: read, choose the model, pick the endpoint, lease it, say why.

Must stay true: from reading the pool to taking the lease nothing awaits, so no two decisions see the same state.
An expected refusal becomes an answer; a surprise becomes a plain pick, counted, and hurts no other request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from traceback import format_tb
from typing import Literal

from epp.datastore.pool import Lease, Pool
from epp.datastore.receipts import Receipts
from epp.domain import Candidate, Choice, Chooser, Endpoint, Reason, Receipt, Refused, Request
from epp.protocol import openai
from epp.protocol.errors import refusal
from epp.protocol.exchange import Route
from epp.protocol.headers import (
    CLASSIFICATION,
    RECEIPT,
    REQUEST_ID,
    SELECTED_MODEL,
    VSR_CATEGORY,
    VSR_DECISION,
    VSR_MODEL,
)
from epp.protocol.messages import Decide, Immediate
from epp.scheduling.framework import Pick, Profile, Query
from epp.telemetry import Telemetry

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Routed:
    """Go there; the lease is the caller's to close."""

    route: Route
    lease: Lease
    receipt: Receipt


@dataclass(slots=True)
class Answered:
    """An answer of our own."""

    immediate: Immediate
    receipt: Receipt


class Director:
    """Decides one request at a time; all state is in the pool, the profile's plugins and the receipts."""

    def __init__(
        self,
        *,
        pool: Pool,
        profile: Profile,
        chooser: Chooser,
        receipts: Receipts,
        telemetry: Telemetry,
        now: Callable[[], float],
        rng: Random,
        unknown_model: Literal["refuse", "forward"] = "refuse",
    ) -> None:
        self._pool = pool
        self._profile = profile
        self._chooser = chooser
        self._receipts = receipts
        self._telemetry = telemetry
        self._now = now
        self._rng = rng
        self._unknown_model = unknown_model

    async def decide(self, ask: Decide, prefer: Endpoint | None = None) -> Routed | Answered:
        """Where the request goes. `prefer` is where its headers already went, kept if it serves the chosen model."""
        receipt = self._receipt(ask)
        try:
            outcome = await self._decide(ask, receipt, prefer)
        except Refused as refused:
            outcome = self._refuse(refused, receipt)
        except Exception as surprise:
            outcome = self._fail_open(ask, receipt, surprise)
        receipt.decided_s = self._now() - receipt.time
        self._receipts.add(receipt)
        self._telemetry.decided(receipt)
        return outcome

    def refuse(self, ask: Decide, refused: Refused) -> Answered:
        """The answer to a request that the exchange itself gave up on."""
        receipt = self._receipt(ask)
        self._receipts.add(receipt)
        return self._refuse(refused, receipt)

    async def _decide(self, ask: Decide, receipt: Receipt, prefer: Endpoint | None) -> Routed | Answered:
        request = openai.read(receipt.request_id, ask.headers, ask.body, ask.subset)
        if ask.body is None:
            request.model = ask.headers.get(SELECTED_MODEL)
        receipt.request_id, receipt.path = request.id, request.path
        receipt.asked_model, receipt.prompt_tokens = request.model, request.prompt_tokens
        if request.method == "GET" and request.path.endswith("/v1/models"):
            return self._models(receipt)
        receipt.choice = choice = await self._choice(request)
        candidate, pick = self._pick(request, choice, receipt, prefer)
        return self._routed(ask, request, candidate, pick, receipt)

    async def _choice(self, request: Request) -> Choice:
        if request.model is not None and request.model in self._chooser.aliases:
            return await self._chooser.choose(request)
        return Choice((Candidate(request.model),))

    def _pick(
        self, request: Request, choice: Choice, receipt: Receipt, prefer: Endpoint | None
    ) -> tuple[Candidate, Pick]:
        """The first candidate with an endpoint that can be reached; if there is none, the first with any."""
        endpoints = _within(request.subset, self._pool.endpoints)
        if not endpoints:
            raise Refused(Reason.NO_ENDPOINTS, "failed to find endpoint candidates for serving the request")
        for last_resort in (False, True):
            for candidate in choice.candidates:
                able = _serving(candidate.model, endpoints)
                if last_resort or any(e.reachable for e in able):
                    pick = self._run(request, candidate, [prefer] if prefer is not None and prefer in able else able)
                    if pick is not None:
                        return candidate, pick
                receipt.excluded[candidate.model] = "no usable endpoint serves it"
        if self._unknown_model == "forward":
            pick = self._run(request, choice.candidates[0], endpoints)
            if pick is not None:
                return choice.candidates[0], pick
        raise self._not_served(request, choice)

    def _run(self, request: Request, candidate: Candidate, endpoints: Sequence[Endpoint]) -> Pick | None:
        if not endpoints:
            return None
        query = Query(request, candidate, self._now(), self._rng)
        pick = self._profile.run(query, endpoints)
        if pick is not None:
            self._profile.picked(query, pick)
        return pick

    def _not_served(self, request: Request, choice: Choice) -> Refused:
        wanted = ", ".join(f"`{c.model}`" for c in choice.candidates)
        if request.model in self._chooser.aliases:
            return Refused(Reason.NO_ENDPOINTS, f"no endpoint serves the models that may answer: {wanted}")
        names = ", ".join(sorted({*self._pool.models(), *self._chooser.aliases}))
        message = f"the model {wanted} does not exist here; these do: {names}"
        return Refused(Reason.MODEL_NOT_FOUND, message, param="model")

    def _routed(self, ask: Decide, request: Request, candidate: Candidate, pick: Pick, receipt: Receipt) -> Routed:
        endpoint, model = pick.endpoint, candidate.model
        receipt.pick, receipt.picked, receipt.model = pick, endpoint.address, model
        edited = request.model_span is not None and model is not None and model != request.model
        changed = model is not None and ask.headers.get(SELECTED_MODEL) != model
        headers = []
        if changed and model is not None:
            headers.append((SELECTED_MODEL, model))
        if REQUEST_ID not in ask.headers:
            headers.append((REQUEST_ID, request.id))
        route = Route(
            destination=endpoint.address,
            set_headers=headers,
            body=openai.with_model(request, model) if edited and model is not None else None,
            model_changed=changed,
            response_headers=_response_headers(receipt),
        )
        return Routed(route, self._pool.lease(endpoint, request.prompt_tokens), receipt)

    def _models(self, receipt: Receipt) -> Answered:
        roots = self._pool.models()
        names = sorted(roots) + sorted(self._chooser.aliases - roots.keys())
        receipt.outcome, receipt.status = "answered", 200
        headers = [("content-type", "application/json")]
        return Answered(Immediate(200, headers, openai.models_page(names, roots), "onehop_models"), receipt)

    def _refuse(self, refused: Refused, receipt: Receipt) -> Answered:
        receipt.outcome, receipt.status = refused.reason.code, refused.reason.status
        immediate = refusal(refused)
        immediate.headers = [*immediate.headers, (RECEIPT, receipt.id)]
        return Answered(immediate, receipt)

    def _fail_open(self, ask: Decide, receipt: Receipt, surprise: Exception) -> Routed | Answered:
        """A defect: send the request as it is to the least busy endpoint. Its text may hold a prompt: not logged."""
        where = "".join(format_tb(surprise.__traceback__)[-2:])
        log.error("surprise %s, request %s goes on by a plain pick\n%s", type(surprise).__name__, receipt.id, where)
        self._telemetry.surprise(surprise)
        endpoints = _within(ask.subset, self._pool.endpoints)
        if not endpoints:
            return self._refuse(Refused(Reason.NO_ENDPOINTS, "no endpoint is available"), receipt)
        endpoint = min(endpoints, key=lambda e: (not e.reachable, e.inflight_requests, self._rng.random()))
        receipt.picked = endpoint.address
        route = Route(endpoint.address, response_headers=[(RECEIPT, receipt.id)])
        return Routed(route, self._pool.lease(endpoint, 0), receipt)

    def _receipt(self, ask: Decide) -> Receipt:
        made_up = f"{self._rng.getrandbits(128):032x}"
        return Receipt(
            id=made_up[:16],
            request_id=ask.headers.get(REQUEST_ID) or made_up,
            time=self._now(),
            path=ask.headers.get(":path", ""),
            asked_model=None,
        )


def _within(subset: frozenset[str] | None, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """The endpoints of the gateway's hint, which names them by `ip:port` or by `ip`."""
    if subset is None:
        return endpoints
    return [e for e in endpoints if e.address in subset or e.address.rpartition(":")[0].strip("[]") in subset]


def _serving(model: str | None, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Those that say they serve the model; if none says so, those that have not told what they serve."""
    if model is None:
        return endpoints
    told = [e for e in endpoints if e.models is not None and model in e.models]
    return told or [e for e in endpoints if e.models is None]


def _response_headers(receipt: Receipt) -> list[tuple[str, str]]:
    choice = receipt.choice
    pairs: Mapping[str, str | None] = {
        VSR_MODEL: receipt.model,
        VSR_DECISION: choice.decision if choice else None,
        VSR_CATEGORY: choice.category if choice else None,
        CLASSIFICATION: choice.classification if choice else None,
        RECEIPT: receipt.id,
    }
    return [(name, value) for name, value in pairs.items() if value]
