"""The order of a request's steps: read, choose the model, pick the endpoint, lease it, say why.

Must stay true: from reading the pool to taking the lease nothing awaits, so no two decisions see the same state.
An expected refusal becomes an answer; a surprise becomes a plain pick, counted, and hurts no other request.
"""

from __future__ import annotations

import logging
import math
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from http import HTTPStatus
from random import Random
from traceback import format_tb

from epp import candidates, outcome
from epp.datastore import recent
from epp.datastore.outages import Outages
from epp.datastore.pool import Lease
from epp.datastore.receipts import Receipts
from epp.datastore.recent import Decided, Recent
from epp.digest import Digest
from epp.domain import (
    DEFAULT_TENANT,
    Candidate,
    Choice,
    Chooser,
    Cost,
    Endpoint,
    Reason,
    Receipt,
    Refused,
    Request,
    Usage,
)
from epp.flow.eviction import Running
from epp.flow.gate import Gate, Gone, Waits
from epp.flow.ticket import Room, Ticket
from epp.outcome import Answered, Routed
from epp.picking import Picking, next_best, within
from epp.protocol import decision, openai
from epp.protocol.decision import Decision, Signer
from epp.protocol.exchange import Route
from epp.protocol.headers import (
    DECISION,
    FAIRNESS,
    IF_AVAILABLE,
    OBJECTIVE,
    PREFER,
    REQUEST_ID,
    RETRY_ATTEMPT,
    REWRITE,
    SELECTED_MODEL,
    SLO_TTFT,
    first,
)
from epp.protocol.identity import Source
from epp.protocol.messages import Decide
from epp.protocol.paths import PARSERS, path_of
from epp.scheduling.framework import Answer, Extra, Metadata, Pick, Query
from epp.telemetry import Telemetry

log = logging.getLogger(__name__)
STREAMS_MAX = 16  # of one request: ai-gateway#2595 counted so many
ID_LENGTH_MAX, PATH_LENGTH_MAX = 128, 1024  # in receipts, of which thousands are kept
EXPLAINED_MAX = 100  # endpoints in a receipt: about 20 KB; of thousands each, the receipts would hold gigabytes
FAIRNESS_HEADER = Source("headers", FAIRNESS)
OBJECTIVE_HEADER = Source("headers", OBJECTIVE)
NOWHERE = Source("none")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has settled for all requests.

    With `scores` the gateway is told every endpoint's; without `subsets` its own hint at some of them is ignored.

    `parsers` are whose bodies are understood. `tenant` and `objective` say where those names are looked for, `agent`
    where the tenant's is where there is none. A destination lists up to `fallbacks` more endpoints
    for the gateway's own retries. `signer` carries a decision from the first of two streams of a request
    (`first_of_two`, which takes no lease) to the second (`second_of_two`, which refuses what did not pass the first).
    """

    unparsed: openai.Unparsed = "pass"
    parsers: Collection[str] = PARSERS
    tenant: Source = FAIRNESS_HEADER
    agent: Source = NOWHERE
    objective: Source = OBJECTIVE_HEADER
    fallbacks: int = 0
    scores: bool = False
    subsets: bool = True
    signer: Signer | None = None
    first_of_two: bool = False
    second_of_two: bool = False


DEFAULT_RULES = Rules()


class Director:
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
        self._picking = picking
        self._pool = picking.pool
        self._profile = picking.profile
        self._chooser = chooser
        self._receipts = receipts
        self._telemetry = telemetry
        self._now = now
        self._wall = wall
        self._rng = rng
        self._rules = rules
        self._gate = gate
        self._recent = Recent()
        self._outages = Outages()
        self._digest = Digest(self._pool.name)

    async def decide(
        self, ask: Decide, prefer: Endpoint | None = None, waits: Callable[[float], Awaitable[None]] | None = None
    ) -> Routed | Answered:
        """Where the request goes. `prefer` is where its headers already went, kept if it serves the chosen model.

        `waits` is called when the answer may take as many seconds.
        """
        receipt = self._receipt(ask)
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
        receipt = self._receipt(ask)
        receipt.id = named or receipt.id
        answered = self._refuse(refused, receipt)
        self._receipts.add(receipt)
        return answered

    def may_evict(self, routed: Routed, evict: Callable[[], None]) -> None:
        """The stream can cut the request off: `evict` is called when others need its place more, if ever."""
        if self._gate is None or routed.lease is None or routed.lease.holders > 1:
            return
        running = Running(routed.receipt.priority, self._now(), routed.lease, evict)
        if self._gate.control.evictions.add(running):
            routed.running = running

    def evicted(self, routed: Routed) -> Answered:
        """What the client is told whose request was cut off."""
        return self._refuse(Refused(Reason.EVICTED, "request evicted by flow control"), routed.receipt)

    def served(self, routed: Routed, address: str) -> None:
        """The gateway says who answered: if it went elsewhere, the ledger and the scorers' memories follow."""
        routed.receipt.served = address
        extra = None if routed.query is None else routed.query.extra
        if routed.lease is None or address in (routed.lease.endpoint.address, extra and extra.destination):
            return
        endpoint = self._pool.at(address)
        if endpoint is None:
            return
        picked = routed.lease.endpoint
        routed.lease.move(endpoint, self._now())
        if routed.query is not None:
            self._profile.moved(routed.query, picked, endpoint)

    def heads(self, routed: Routed, served: str | None) -> None:
        """The answer begins: who served it, if the gateway says so, and what plugins want the client to be told."""
        if served is not None:
            self.served(routed, served)
        if routed.query is not None and routed.lease is not None:
            more = self._profile.heads(routed.query, routed.lease.endpoint, served)
            if more:
                routed.route.response_headers = [*routed.route.response_headers, *more]

    def reports(self, routed: Routed, usage: Usage | None) -> Metadata | None:
        """What plugins want the gateway to be told with the last piece of the answer."""
        return None if routed.query is None else self._profile.reports(routed.query, usage)

    @property
    def reporting(self) -> bool:
        """Whether any plugin ever reports: then the usage must be known by the last piece."""
        return self._profile.reporting

    def answered(self, routed: Routed) -> None:
        """The first piece of the answer is here; that of a stream is its first token."""
        receipt = routed.receipt
        if (receipt.status or 200) >= HTTPStatus.BAD_REQUEST:
            return  # a refusal comes at once, and says nothing of how long a prompt takes
        if receipt.stream and routed.query is not None and routed.lease is not None:
            took = (receipt.first_answer_s or 0.0) - (receipt.decided_s or 0.0)
            self._profile.answered(routed.query, routed.lease.endpoint, took)
            self._telemetry.foretold(receipt, took)

    def ended(self, routed: Routed) -> None:
        """The stream is over, for whatever reason; the receipt says how. The lease is closed."""
        lease, receipt = routed.lease, routed.receipt
        if lease is None:
            return
        if self._gate is not None and routed.running is not None:
            self._gate.control.evictions.remove(routed.running)
        lease.close(self._now())
        if self._gate is not None and receipt.usage is not None:
            self._gate.control.generated(receipt.tenant, receipt.priority, receipt.usage, self._now())
        if routed.query is not None and receipt.outcome != "superseded" and not lease.charged:
            decided = receipt.decided_s or 0.0
            first = receipt.first_answer_s if receipt.stream else None
            answer = Answer(
                seconds=(receipt.ended_s or 0.0) - decided,
                first_s=None if first is None else first - decided,
                status=receipt.status,
                whole=receipt.outcome == "completed",
                usage=receipt.usage,
                fault=receipt.fault,
            )
            self._profile.ended(routed.query, lease.endpoint, answer)

    async def _decide(
        self,
        ask: Decide,
        receipt: Receipt,
        prefer: Endpoint | None,
        waits: Callable[[float], Awaitable[None]] | None,
    ) -> Routed | Answered:
        named = _model_in(ask.headers, REWRITE)
        request = openai.read(
            receipt.request_id,
            ask.headers,
            ask.body,
            ask.subset if self._rules.subsets else None,
            unparsed=self._rules.unparsed,
            parsers=self._rules.parsers,
            model_required=named is None and not self._pool.policies.generic,
        )
        if ask.body is None:
            request.model = _model_in(ask.headers, (SELECTED_MODEL,))
        self._note(request, receipt)
        if request.method == "GET" and request.path.endswith("/v1/models"):
            return outcome.models(self._pool.names(), self._chooser.aliases, receipt)
        told = self._told(ask, receipt.request_id)
        about = _key(ask, ask.body) if ask.body and ask.headers.get(REQUEST_ID) else None
        before = self._before(ask, about)
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
        tried = before.tried if before else set()
        kept = before.endpoint if before and not tried else prefer
        # One that is in the ledger already, by its headers or by another stream, has been let through.
        room = await self._enter(ask, request, choice, receipt, waits) if kept is None else None
        # From here to the lease nothing awaits.
        self._pool.settle(self._now())
        chosen = self._picking.choose(
            request, choice, receipt, self._now(), prefer=kept, tried=tried, aliases=self._chooser.aliases, room=room
        )
        pick = chosen.pick
        receipt.pick, receipt.model = pick.best(EXPLAINED_MAX), chosen.candidate.model
        receipt.pick.remember(chosen.query)
        receipt.cached_tokens = chosen.query.cached.get(pick.endpoint, 0)
        receipt.hashed_tokens = chosen.query.hashed
        if self._rules.first_of_two:
            return self._pass_on(ask, request, receipt, chosen.candidate, pick.endpoint)
        if PREFER in ask.headers and not receipt.cached_tokens and IF_AVAILABLE in ask.headers[PREFER].lower():
            raise Refused(Reason.NOT_CACHED, "no decode worker has the requested KV cache")
        receipt.picked = pick.endpoint.address
        extra = chosen.query.extra
        destination = self._destination(pick, extra)
        edits = chosen.candidate.edits_at(pick.endpoint)
        way = outcome.route(ask.headers, request, destination, receipt.model, receipt, edits=edits)
        way = outcome.with_headers(way, chosen.candidate.headers, ask.headers)
        outcome.bring(way, extra)
        way.scores = pick.scores() if self._rules.scores else None
        if before and _joins(before.lease) and before.lease.endpoint is pick.endpoint:
            lease = before.lease.join()
        else:
            chosen.query.blind = not (ask.sees_answer and request.stream)
            lease = self._charge(chosen.query, pick.endpoint, receipt)  # last: what fails before it leaks nothing
        decided = Decided(self._now(), receipt.choice, chosen.candidate, pick.endpoint, lease, tried)
        self._remember(about, ask, way, decided)
        request.body = request.prompt = b""  # a stream may last for minutes; what was decided needs no body
        return Routed(way, lease, receipt, chosen.query)

    def _destination(self, pick: Pick, extra: Extra | None) -> str:
        """The chosen endpoint, and further ones where these are asked for."""
        if extra is not None and extra.destination:
            return extra.destination  # alone: the header that goes with it is about this choice
        further = next_best(pick, self._rules.fallbacks)
        return ",".join([pick.endpoint.address, *further]) if further else pick.endpoint.address

    def _charge(self, query: Query, endpoint: Endpoint, receipt: Receipt) -> Lease:
        """The choice is final: plugins note it, the ledger counts it."""
        self._profile.picked(query, endpoint)
        cost, extra, now = _cost(query, endpoint), query.extra, self._now()
        cost.critical = (
            self._gate is not None and self._gate.control.settings.level(query.request.priority) == "critical"
        )
        receipt.predicted_ttft_s, receipt.work_s = cost.ttft_s, cost.work_s
        if extra is None or not extra.beside:
            return self._pool.lease(endpoint, cost, now=now)
        # Those who prefill for it have the prompt to compute.
        own = replace(cost, tokens=0, work_s=0.0)
        return self._pool.lease(endpoint, own, now=now, beside=[(e, cost) for e in extra.beside])

    def _note(self, request: Request, receipt: Receipt) -> None:
        """What the receipt says of the request, and the request of who asks."""
        receipt.asked_model, receipt.prompt_tokens = request.model, request.prompt_tokens
        receipt.stream, receipt.needs = request.stream, request.needs
        request.tenant, request.priority = receipt.tenant, receipt.priority

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
        slo_s = _slo_s(ask.headers)
        wait_s_max = timeouts.wait_s(now - receipt.time) if ask.timed else None
        tell: Waits | None = None
        if waits is not None and ask.timed and timeouts.extends:
            tell = partial(waits, timeouts.message_s_max)
        with self._picking.waiting(choice, request.subset, now) as key:
            ticket = Ticket(request, key, now, slo_s=slo_s, wait_s_max=wait_s_max)
            try:
                entry = await gate.enter(ticket, tell)
            finally:
                receipt.waited_s = self._now() - now
                receipt.slo_ttft_s = ticket.due_s
        return entry.room

    def _told(self, ask: Decide, request_id: str) -> Decision | None:
        """What the first stream decided about this request, if it said so. Raises Refused where it must have."""
        rules = self._rules
        if rules.signer is None or rules.first_of_two:
            return None
        found = rules.signer.verify(ask.headers, self._wall())
        if found is None and rules.second_of_two:
            # A client that names the model in this header makes Envoy take the second filter's settings for the first
            # one, too; the answers of two full-duplex filters then come cut, or empty with a 200.
            message = f"the header `{SELECTED_MODEL}` is not for clients to send; name the model in the body"
            raise Refused(Reason.DECISION_MISSING, message)
        same = found is not None and found.about == decision.about(request_id, ask.headers, ask.body or b"")
        return found if same else None

    def _pass_on(
        self, ask: Decide, request: Request, receipt: Receipt, candidate: Candidate, likely: Endpoint
    ) -> Routed:
        """The model is chosen, the endpoint is for the second stream to choose; so nothing is leased."""
        way = outcome.route(ask.headers, request, None, receipt.model, receipt, edits=candidate.edits_at(likely))
        way = outcome.with_headers(way, candidate.headers, ask.headers)
        signer, choice = self._rules.signer, receipt.choice
        if signer is not None and choice is not None:
            body = way.body if way.body is not None else ask.body or b""
            value = signer.sign(
                Decision(
                    until=self._wall() + decision.LIFETIME_S,
                    about=decision.about(receipt.request_id, ask.headers, body),
                    receipt=receipt.id,
                    asked=receipt.asked_model,
                    model=receipt.model,
                    decision=choice.decision,
                    category=choice.category,
                    confidence=choice.confidence,
                    classification=choice.classification,
                )
            )
            way.set_headers = [*way.set_headers, (DECISION, value)]
            way.remove_headers = [name for name in way.remove_headers if name != DECISION]
        return Routed(way, None, receipt, None)

    def _before(self, ask: Decide, about: recent.Key | None) -> Decided | None:
        """What we said to this very request while its other stream is open, or, for a retry, when it last failed."""
        found = None if about is None else self._recent.find(about, self._now())
        if found is None:
            return None
        if ask.headers.get(RETRY_ATTEMPT, "0") != "0":
            found.tried.add(found.endpoint)
            return found
        return found if _joins(found.lease) else None

    def _remember(self, about: recent.Key | None, ask: Decide, way: Route, decided: Decided) -> None:
        """Under the body as it came and as it went on: a second filter sees what the first one made of it."""
        if about is None:
            return
        self._recent.note(about, decided)
        if way.body is not None:
            # What was edited once is not edited again.
            plain = replace(decided, choice=decided.choice.unedited(), candidate=decided.candidate.unedited())
            self._recent.note(_key(ask, way.body), plain)

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

    def _receipt(self, ask: Decide) -> Receipt:
        made_up = f"{self._rng.getrandbits(128):032x}"
        objective = self._rules.objective.find(ask.headers, ask.attributes)
        return Receipt(
            id=made_up[:16],
            request_id=(ask.headers.get(REQUEST_ID) or made_up)[:ID_LENGTH_MAX],
            time=self._now(),
            path=path_of(ask.headers)[-PATH_LENGTH_MAX:],
            asked_model=None,
            pool=self._pool.name,
            tenant=self._rules.tenant.find(ask.headers, ask.attributes)
            or self._rules.agent.find(ask.headers, None)
            or DEFAULT_TENANT,
            objective=objective,
            priority=self._pool.policies.priority(objective),
            body_bytes=len(ask.body or b""),
        )


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


def _joins(lease: Lease) -> bool:
    """Whether one more may hold it: as many as one request can have streams, since clients may choose their ids."""
    return lease.charged and lease.holders < STREAMS_MAX


def _model_in(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The model that a header names, if one does. Raises Refused for what no body may name either."""
    model = first(headers, names)
    if model is not None and len(model) > openai.MODEL_LENGTH_MAX:
        message = f"a model in the header `{names[0]}` must have at most {openai.MODEL_LENGTH_MAX} characters"
        raise Refused(Reason.BAD_REQUEST, message)
    return model


def _slo_s(headers: Mapping[str, str]) -> float | None:
    """The seconds within which the client wants its first token, if it says so."""
    told = first(headers, SLO_TTFT)
    if told is None:
        return None
    try:
        slo_s = float(told) / 1000
    except ValueError:
        return None
    return slo_s if 0 < slo_s < math.inf else None


def _key(ask: Decide, body: bytes) -> recent.Key:
    return recent.key(ask.headers[REQUEST_ID], ask.headers.get(":path", ""), body)
