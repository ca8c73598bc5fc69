"""The order of a request's steps: read, choose the model, pick the endpoint, lease it, say why.

Must stay true: from reading the pool to taking the lease nothing awaits, so no two decisions see the same state.
An expected refusal becomes an answer; a surprise becomes a plain pick, counted, and hurts no other request.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from random import Random
from traceback import format_tb
from typing import Literal

from epp import outcome
from epp.datastore import recent
from epp.datastore.pool import Pool
from epp.datastore.receipts import Receipts
from epp.datastore.recent import Decided, Recent
from epp.domain import Candidate, Choice, Chooser, Endpoint, Reason, Receipt, Refused, Request
from epp.outcome import Answered, Routed
from epp.protocol import openai
from epp.protocol.exchange import Route
from epp.protocol.headers import (
    FAIRNESS,
    IF_AVAILABLE,
    PREFER,
    REQUEST_ID,
    RETRY_ATTEMPT,
    REWRITE,
    SELECTED_MODEL,
    first,
)
from epp.protocol.messages import Decide
from epp.protocol.paths import path_of
from epp.scheduling.framework import Pick, Profile, Query
from epp.scheduling.plugins.prefix_cache import PrefixCacheScorer
from epp.telemetry import Telemetry

log = logging.getLogger(__name__)
DEFAULT_TENANT = "default-flow"  # the Go picker's name for requests without a fairness id


class Director:
    """Decides one request at a time; all state is in the pool, the profile's plugins and the two memories."""

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
        unparsed: openai.Unparsed = "pass",
    ) -> None:
        self._pool = pool
        self._profile = profile
        self._chooser = chooser
        self._receipts = receipts
        self._telemetry = telemetry
        self._now = now
        self._rng = rng
        self._unknown_model = unknown_model
        self._unparsed = unparsed
        self._recent = Recent()

    async def decide(self, ask: Decide, prefer: Endpoint | None = None) -> Routed | Answered:
        """Where the request goes. `prefer` is where its headers already went, kept if it serves the chosen model."""
        receipt = self._receipt(ask)
        try:
            result = await self._decide(ask, receipt, prefer)
        except Refused as refused:
            result = outcome.refuse(refused, receipt)
        except Exception as surprise:
            result = self._fail_open(ask, receipt, surprise)
        receipt.decided_s = self._now() - receipt.time
        self._receipts.add(receipt)
        self._telemetry.decided(receipt)
        return result

    def refuse(self, ask: Decide, refused: Refused) -> Answered:
        """The answer to a request that the exchange itself gave up on."""
        receipt = self._receipt(ask)
        self._receipts.add(receipt)
        return outcome.refuse(refused, receipt)

    def served(self, routed: Routed, address: str) -> None:
        """The gateway says who answered: if it went elsewhere, the ledger and the scorers' memories follow."""
        routed.receipt.served = address
        if address == routed.lease.endpoint.address:
            return
        endpoint = self._pool.at(address)
        if endpoint is None:
            return
        picked = routed.lease.endpoint
        routed.lease.move(endpoint)
        if routed.query is not None:
            self._profile.moved(routed.query, picked, endpoint)

    async def _decide(self, ask: Decide, receipt: Receipt, prefer: Endpoint | None) -> Routed | Answered:
        rewritten = first(ask.headers, REWRITE)
        request = openai.read(
            receipt.request_id,
            ask.headers,
            ask.body,
            ask.subset,
            unparsed=self._unparsed,
            model_required=rewritten is None,
        )
        if ask.body is None:
            request.model = ask.headers.get(SELECTED_MODEL)
        receipt.asked_model, receipt.prompt_tokens = request.model, request.prompt_tokens
        receipt.stream = request.stream
        if request.method == "GET" and request.path.endswith("/v1/models"):
            return outcome.models(self._pool.models(), self._chooser.aliases, receipt)
        before = self._before(ask)
        receipt.choice = choice = before.choice if before else await self._choice(rewritten, request)
        # From here to the lease nothing awaits.
        tried = before.tried if before else set()
        kept = before.endpoint if before and not tried else prefer
        candidate, query, pick = self._pick(request, choice, receipt, kept, tried)
        receipt.pick, receipt.picked, receipt.model = pick, pick.endpoint.address, candidate.model
        if IF_AVAILABLE in ask.headers.get(PREFER, "").lower() and not pick.score(PrefixCacheScorer.type):
            raise Refused(Reason.NOT_CACHED, "no decode worker has the requested KV cache")
        way = outcome.route(ask.headers, request, pick.endpoint.address, candidate.model, receipt)
        if before and before.lease.charged and before.endpoint is pick.endpoint:
            lease = before.lease.join()
        else:
            self._profile.picked(query, pick.endpoint)
            lease = self._pool.lease(pick.endpoint, request.prompt_tokens)  # last: what fails before it leaks nothing
        self._remember(ask, way, Decided(self._now(), choice, candidate, pick.endpoint, lease, tried))
        request.body = request.prompt = b""  # a stream may last for minutes; what was decided needs no body
        return Routed(way, lease, receipt, query)

    async def _choice(self, rewritten: str | None, request: Request) -> Choice:
        """The models that may answer: told by the rewrite header, meant by an alias, or named."""
        if rewritten is not None:
            return Choice((Candidate(rewritten),))
        if request.model is not None and request.model in self._chooser.aliases:
            return await self._chooser.choose(request)
        return Choice((Candidate(request.model),))

    def _before(self, ask: Decide) -> Decided | None:
        """What we said to this very request while its other stream is open, or, for a retry, when it last failed."""
        if not ask.body or REQUEST_ID not in ask.headers:
            return None
        found = self._recent.find(_key(ask, ask.body), self._now())
        if found is None:
            return None
        if ask.headers.get(RETRY_ATTEMPT, "0") != "0":
            found.tried.add(found.endpoint)
            return found
        return found if found.lease.charged else None

    def _remember(self, ask: Decide, way: Route, decided: Decided) -> None:
        """Under the body as it came and as it went on: a second filter sees what the first one made of it."""
        if not ask.body or REQUEST_ID not in ask.headers:
            return
        self._recent.note(_key(ask, ask.body), decided)
        if way.body is not None:
            self._recent.note(_key(ask, way.body), decided)

    def _pick(
        self,
        request: Request,
        choice: Choice,
        receipt: Receipt,
        prefer: Endpoint | None,
        tried: set[Endpoint],
    ) -> tuple[Candidate, Query, Pick]:
        """The first candidate with an endpoint that can be reached; if there is none, the first with any."""
        within = _within(request.subset, self._pool.endpoints)
        endpoints = [e for e in within if e not in tried] or within
        if not endpoints:
            raise Refused(Reason.NO_ENDPOINTS, "failed to find endpoint candidates for serving the request")
        drained = False
        for last_resort in (False, True):
            for candidate in choice.candidates:
                able = _serving(candidate.model, endpoints)
                drained = drained or bool(able)
                if last_resort or any(e.reachable for e in able):
                    found = self._run(request, candidate, _kept(prefer, able))
                    if found is not None:
                        return candidate, *found
                receipt.excluded[candidate.model] = "no usable endpoint serves it"
        if self._unknown_model == "forward":
            found = self._run(request, choice.candidates[0], endpoints)
            if found is not None:
                return choice.candidates[0], *found
        if drained:
            raise Refused(Reason.SATURATED, "no endpoints available for the given request")
        raise self._not_served(request, choice)

    def _run(self, request: Request, candidate: Candidate, endpoints: Sequence[Endpoint]) -> tuple[Query, Pick] | None:
        query = Query(request, candidate, self._now(), self._rng)
        pick = self._profile.run(query, endpoints) if endpoints else None
        return None if pick is None else (query, pick)

    def _not_served(self, request: Request, choice: Choice) -> Refused:
        wanted = ", ".join(f"`{c.model}`" for c in choice.candidates)
        if request.model in self._chooser.aliases:
            return Refused(Reason.NO_ENDPOINTS, f"no endpoint serves the models that may answer: {wanted}")
        names = ", ".join(sorted({*self._pool.models(), *self._chooser.aliases}))
        message = f"the model {wanted} does not exist here; these do: {names}"
        return Refused(Reason.MODEL_NOT_FOUND, message, param="model")

    def _fail_open(self, ask: Decide, receipt: Receipt, surprise: Exception) -> Routed | Answered:
        """A defect: send the request as it is to the least busy endpoint. Its text may hold a prompt: not logged."""
        where = "".join(format_tb(surprise.__traceback__)[-2:])
        log.error("surprise %s, request %s goes on by a plain pick\n%s", type(surprise).__name__, receipt.id, where)
        self._telemetry.surprise(surprise)
        endpoints = _within(ask.subset, self._pool.endpoints)
        if not endpoints:
            return outcome.refuse(Refused(Reason.NO_ENDPOINTS, "no endpoint is available"), receipt)
        endpoint = min(endpoints, key=lambda e: (not e.reachable, e.inflight_requests, self._rng.random()))
        receipt.picked = endpoint.address
        way = outcome.plain_route(ask.headers, endpoint.address, receipt)
        return Routed(way, self._pool.lease(endpoint, 0), receipt)

    def _receipt(self, ask: Decide) -> Receipt:
        made_up = f"{self._rng.getrandbits(128):032x}"
        return Receipt(
            id=made_up[:16],
            request_id=ask.headers.get(REQUEST_ID) or made_up,
            time=self._now(),
            path=path_of(ask.headers),
            asked_model=None,
            tenant=first(ask.headers, FAIRNESS) or DEFAULT_TENANT,
            body_bytes=len(ask.body or b""),
        )


def _key(ask: Decide, body: bytes) -> recent.Key:
    return recent.key(ask.headers[REQUEST_ID], ask.headers.get(":path", ""), body)


def _kept(prefer: Endpoint | None, able: Sequence[Endpoint]) -> Sequence[Endpoint]:
    return [prefer] if prefer is not None and prefer.reachable and prefer in able else able


def _within(subset: frozenset[str] | None, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """The endpoints of the gateway's hint, which names them by `ip:port` or by `ip`, IPv6 with or without brackets."""
    if subset is None:
        return endpoints
    named = subset | {entry.strip("[]") for entry in subset}
    return [e for e in endpoints if e.address in named or e.address.rpartition(":")[0].strip("[]") in named]


def _serving(model: str | None, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Those that say they serve the model; if none says so, those that have not told what they serve."""
    if model is None:
        return endpoints
    told = [e for e in endpoints if e.models is not None and model in e.models]
    return told or [e for e in endpoints if e.models is None]
