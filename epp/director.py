"""The order of a request's steps: read, choose the model, pick the endpoint, lease it, say why.

Must stay true: from reading the pool to taking the lease nothing awaits, so no two decisions see the same state.
An expected refusal becomes an answer; a surprise becomes a plain pick, counted, and hurts no other request.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import lru_cache, partial
from random import Random
from traceback import format_tb

from epp import candidates, handover, outcome, repeats
from epp.afterwards import Afterwards
from epp.arrival import DEFAULT_RULES, Rules, model_in, note, receipt_of, slo_s
from epp.datastore import recent
from epp.datastore.outages import Outages
from epp.datastore.pool import Lease
from epp.datastore.receipts import Receipts
from epp.datastore.recent import Decided
from epp.digest import Digest
from epp.domain import Candidate, Choice, Chooser, Cost, Endpoint, Reason, Receipt, Refused, Request
from epp.flow.gate import Gate, Gone, Waits
from epp.flow.ticket import Room, Ticket
from epp.outcome import Answered, Routed
from epp.picking import Chosen, Picking, next_best, within
from epp.protocol import openai
from epp.protocol.decision import Decision
from epp.protocol.headers import IF_AVAILABLE, PREFER, REQUEST_ID, REWRITE, SELECTED_MODEL
from epp.protocol.messages import Decide
from epp.repeats import Repeats
from epp.scheduling.framework import Extra, Query
from epp.scheduling.pick import Pick
from epp.telemetry import Telemetry

__all__ = ["Director", "Rules"]
log = logging.getLogger(__name__)
EXPLAINED_MAX = 100  # endpoints in a receipt: about 20 KB; of thousands each, the receipts would hold gigabytes


class Director(Afterwards):
    """Decides one request at a time; all state is in the pool, the gate, the profile's plugins and the memories.

    Without a `gate` every request goes on at once. `now` is monotonic; `wall` is the time of day, for what other
    processes are told.
    """

    def __init__(
        self,
        *,
        picking: Picking,
        chooser: Chooser,
        receipts: Receipts,
        telemetry: Telemetry,
        now: Callable[[], float],
        wall: Callable[[], float],
        rng: Random,
        rules: Rules = DEFAULT_RULES,
        gate: Gate | None = None,
    ) -> None:
        super().__init__(picking, telemetry, now, gate)
        self._picking = picking
        self._chooser = chooser
        self._receipts = receipts
        self._wall = wall
        self._rng = rng
        self._rules = rules
        self._repeats = Repeats()
        self._outages = Outages()
        self._digest = Digest(self._pool.name)

    async def decide(
        self, ask: Decide, prefer: Endpoint | None = None, waits: Callable[[float], Awaitable[None]] | None = None
    ) -> Routed | Answered:
        """Where the request goes. `prefer` is where its headers already went, kept if it serves the chosen model.

        `waits` is called when the answer may take as many seconds.
        """
        receipt = receipt_of(ask, self._rules, self._pool, self._now(), self._rng)
        try:
            result = await self._decide(ask, receipt, prefer, waits)
        except Refused as refused:
            result = self._refuse(refused, receipt)
        except (CancelledError, Gone):
            receipt.outcome = "disconnected"
            self._receipts.add(receipt)
            self._telemetry.ended(receipt)
            raise
        except Exception as surprise:
            result = self._fail_open(ask, receipt, surprise)
        receipt.decided_s = self._now() - receipt.time
        self._receipts.add(receipt)
        self._telemetry.chose(receipt)
        if not isinstance(result, Routed) or result.lease is not None:  # else the second stream counts the request
            self._telemetry.decided(receipt)
        return result

    def refuse(self, ask: Decide, refused: Refused, named: str | None = None) -> Answered:
        """The answer to a request that the exchange itself gave up on; `named` is its receipt's id, if it has one."""
        receipt = receipt_of(ask, self._rules, self._pool, self._now(), self._rng)
        receipt.id = named or receipt.id
        answered = self._refuse(refused, receipt)
        self._receipts.add(receipt)
        return answered

    def evicted(self, routed: Routed) -> Answered:
        """What the client is told whose request was cut off."""
        return self._refuse(Refused(Reason.EVICTED, "request evicted by flow control"), routed.receipt)

    async def _decide(
        self,
        ask: Decide,
        receipt: Receipt,
        prefer: Endpoint | None,
        waits: Callable[[float], Awaitable[None]] | None,
    ) -> Routed | Answered:
        rules, headers = self._rules, ask.headers
        named = model_in(headers, REWRITE)
        request = openai.read(
            receipt.request_id,
            headers,
            ask.body,
            ask.subset if rules.subsets else None,
            unparsed=rules.unparsed,
            parsers=rules.parsers,
            model_required=named is None and not self._pool.policies.generic,
        )
        if ask.body is None:
            request.model = model_in(headers, (SELECTED_MODEL,))
        note(request, receipt)
        if request.method == "GET" and request.path.endswith("/v1/models"):
            return outcome.models(self._pool.names(), self._chooser.aliases, receipt)
        told = handover.told(ask, receipt.request_id, rules, self._wall)
        about = repeats.key(ask, ask.body) if ask.body and headers.get(REQUEST_ID) else None
        before = None if about is None else self._repeats.before(ask, about, receipt.time)
        receipt.choice = choice = before.choice if before else await self._choice(told, named, request, receipt)
        receipt.chosen_s = self._now() - receipt.time
        if choice.classification == "degraded":
            self._digest.degraded(receipt)
        if choice.refusal is not None:
            # Not raised: the receipt keeps it, and its traceback would keep this frame with the body, and the stream.
            return self._refuse(choice.refusal, receipt)
        if choice.answer is not None:
            return outcome.answered(choice.answer, request, receipt, int(self._wall()))
        choice = candidates.fitting(choice, request, receipt)
        if before is not None:
            choice = candidates.first(before.candidate, choice)
        tried: set[Endpoint] = before.tried if before else set()
        kept = before.endpoint if before and not tried else prefer
        # One that is in the ledger already, by its headers or by another stream, has been let through.
        room = await self._enter(ask, request, choice, receipt, waits) if kept is None else None
        # From here to the lease nothing awaits.
        now = self._now()
        self._pool.settle(now)
        chosen = self._picking.choose(
            request, choice, receipt, now, prefer=kept, tried=tried, aliases=self._chooser.aliases, room=room
        )
        return self._routed(chosen, ask, receipt, before=before, about=about)

    def _routed(
        self, chosen: Chosen, ask: Decide, receipt: Receipt, *, before: Decided | None, about: recent.Key | None
    ) -> Routed:
        """The endpoint is chosen: make the request's way there, and count it."""
        pick, query, candidate = chosen.pick, chosen.query, chosen.candidate
        endpoint, extra, request = pick.endpoint, query.extra, query.request
        receipt.pick, receipt.model = pick.best(EXPLAINED_MAX), candidate.model
        receipt.pick.remember(query)
        receipt.cached_tokens, receipt.hashed_tokens = query.cached.get(endpoint, 0), query.hashed
        rules, headers = self._rules, ask.headers
        if rules.first_of_two:
            passed = handover.pass_on(ask, request, receipt, candidate, endpoint)
            handover.sign(passed, ask, rules, self._wall)
            return passed
        if PREFER in headers and not receipt.cached_tokens and IF_AVAILABLE in headers[PREFER].lower():
            raise Refused(Reason.NOT_CACHED, "no decode worker has the requested KV cache")
        receipt.picked = endpoint.address
        edits = candidate.edits_at(endpoint)
        way = outcome.route(headers, request, self._destination(pick, extra), receipt.model, receipt, edits=edits)
        way = outcome.with_headers(way, candidate.headers, headers)
        outcome.bring(way, extra)
        way.scores = pick.scores() if rules.scores else None
        now, tried = self._now(), before.tried if before else set()
        if before and repeats.joins(before.lease) and before.lease.endpoint is endpoint:
            lease = before.lease.join()
        else:
            query.blind = not (ask.sees_answer and request.stream)
            lease = self._charge(query, endpoint, receipt, now)  # last: what fails before it leaks nothing
        if about is not None and receipt.choice is not None:
            self._repeats.remember(about, ask, way, Decided(now, receipt.choice, candidate, endpoint, lease, tried))
        request.body = request.prompt = b""  # a stream may last for minutes; what was decided needs no body
        return Routed(way, lease, receipt, query)

    def _destination(self, pick: Pick, extra: Extra | None) -> str:
        """The chosen endpoint, and further ones where these are asked for."""
        if extra is not None and extra.destination:
            return extra.destination  # alone: the header that goes with it is about this choice
        further = next_best(pick, self._rules.fallbacks)
        return ",".join([pick.endpoint.address, *further]) if further else pick.endpoint.address

    def _charge(self, query: Query, endpoint: Endpoint, receipt: Receipt, now: float) -> Lease:
        """The choice is final: plugins note it, the ledger counts it."""
        self._profile.picked(query, endpoint)
        cost, extra, gate = _cost(query, endpoint), query.extra, self._gate
        cost.critical = gate is not None and gate.control.settings.level(query.request.priority) == "critical"
        receipt.predicted_ttft_s, receipt.work_s = cost.ttft_s, cost.work_s
        if extra is None or not extra.beside:
            return self._pool.lease(endpoint, cost, now=now)
        # Those who prefill for it have the prompt to compute.
        own = replace(cost, tokens=0, work_s=0.0)
        return self._pool.lease(endpoint, own, now=now, beside=[(e, cost) for e in extra.beside])

    async def _choice(self, told: Decision | None, named: str | None, request: Request, receipt: Receipt) -> Choice:
        """The models that may answer: told by our first stream or the rewrite header, meant by an alias, or named.

        An InferenceModelRewrite applies to the name that the client or the header gives, and wins over both.
        """
        if told is not None:
            receipt.asked_model, receipt.first = told.asked, told.receipt
            return told.choice()
        model = named or request.model
        rewritten = self._pool.policies.rewrite(model, self._rng)
        if rewritten is not None:
            receipt.rewrite = rewritten.rewrite
            self._telemetry.rewritten(rewritten.rewrite, model, rewritten.model)
            model = rewritten.model
        if model is not None and model in self._chooser.aliases:
            return await self._chooser.choose(request)
        if self._chooser.guards:
            return await self._chooser.check(request, model)
        return _named(model)

    async def _enter(
        self,
        ask: Decide,
        request: Request,
        choice: Choice,
        receipt: Receipt,
        waits: Callable[[float], Awaitable[None]] | None,
    ) -> Room:
        """Through the gate, as soon as any of the models has room. Raises Refused."""
        gate, now = self._gate, self._now()
        request.target = choice.candidates[0].model if choice.candidates else None
        self._picking.wants(choice, now)
        if gate is None:
            return None
        timeouts = gate.control.settings.gateway
        slo_due_s = slo_s(ask.headers)
        wait_s_max = timeouts.wait_s(now - receipt.time) if ask.timed else None
        tell: Waits | None = None
        if waits is not None and ask.timed and timeouts.extends:
            tell = partial(waits, timeouts.message_s_max)
        with self._picking.waiting(choice, request.subset, now) as key:
            ticket = Ticket(request, key, now, slo_s=slo_due_s, wait_s_max=wait_s_max)
            try:
                entry = await gate.enter(ticket, tell)
            finally:
                receipt.waited_s = self._now() - now
                receipt.slo_ttft_s, receipt.slo_asked_s, receipt.gate = ticket.due_s, slo_due_s, ticket.seen
        return entry.room

    def _fail_open(self, ask: Decide, receipt: Receipt, surprise: Exception) -> Routed | Answered:
        """A defect: send the request as it is to the least busy endpoint. Its text may hold a prompt: not logged."""
        if self._telemetry.surprise(surprise):
            where = "".join(format_tb(surprise.__traceback__)[-2:])
            log.error("surprise %s, request %s goes on by a plain pick\n%s", type(surprise).__name__, receipt.id, where)
        if self._chooser.closed and receipt.choice is None:
            return self._refuse(Refused(Reason.GUARD_UNKNOWN, "the request could not be checked"), receipt)
        if self._rules.first_of_two:
            return Routed(outcome.plain_route(ask.headers, None, receipt), None, receipt)
        endpoints = within(ask.subset if self._rules.subsets else None, self._pool.endpoints)
        if not endpoints:
            return self._refuse(Refused(Reason.NO_ENDPOINTS, "no endpoint is available"), receipt)
        endpoint = min(endpoints, key=lambda e: (not e.reachable, e.inflight_requests, self._rng.random()))
        receipt.picked = endpoint.address
        way = outcome.plain_route(ask.headers, endpoint.address, receipt)
        return Routed(way, self._pool.lease(endpoint, 0), receipt)

    def _refuse(self, refused: Refused, receipt: Receipt) -> Answered:
        lasted_s = self._outages.wait(refused.reason, self._now())
        predicted_s = refused.retry_after_s
        answered = outcome.refuse(refused, receipt, lasted_s if predicted_s is None else predicted_s)
        self._digest.refused(receipt)
        return answered


@lru_cache(1024)
def _named(model: str | None) -> Choice:
    """The model that was named, and no other."""
    return Choice((Candidate(model),))


def _cost(query: Query, endpoint: Endpoint) -> Cost:
    """What the ledger is charged: as the profile reckons, or all of the prompt that is not cached."""
    prompt = query.request.prompt_tokens
    cost = query.cost or Cost(max(0, prompt - query.cached.get(endpoint, 0)), prompt)
    cost.blind = query.blind
    return cost
