"""From candidates to one endpoint: who is allowed, who serves the model, who scores best.

Must stay true: nothing here awaits; the pool is read once for each choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Literal

from epp.datastore.pool import Pool
from epp.datastore.serving import Serving
from epp.domain import Candidate, Choice, Endpoint, Exclusion, Reason, Receipt, Refused, Request, SpillReason
from epp.flow.ticket import Key
from epp.leaving import Leaving, note_forced
from epp.scheduling.framework import Query, Scheduler
from epp.scheduling.pick import Pick


@dataclass(slots=True)
class Chosen:
    """A candidate and its endpoint; `query` and `pick` say how it came about."""

    candidate: Candidate
    query: Query
    pick: Pick


@dataclass(slots=True)
class Picking:
    """Picks among one pool's endpoints by one scheduler, as often as not a single profile.

    `leaving` says when a request goes to another model.
    """

    pool: Pool
    profile: Scheduler
    rng: Random
    unknown_model: Literal["refuse", "forward"] = "refuse"
    leaving: Leaving | None = None
    _serving: Serving = field(init=False, default_factory=Serving, repr=False, compare=False)

    def choose(
        self,
        request: Request,
        choice: Choice,
        receipt: Receipt,
        now: float,
        *,
        prefer: Endpoint | None,
        tried: set[Endpoint],
        aliases: frozenset[str],
        room: Sequence[Endpoint] | None = None,
    ) -> Chosen:
        """The first candidate with an endpoint that can be reached; if there is none, the first with any.

        Or one of those after it, where the wait is too long. `prefer` is kept if it will do, and its model with it;
        `tried` is left out while anyone else is there; where `room` is given, only those in it are chosen. Raises
        Refused.
        """
        allowed = within(request.subset, self.pool.endpoints)
        endpoints = ([e for e in allowed if e not in tried] or allowed) if tried else allowed
        if not endpoints:
            raise Refused(Reason.NO_ENDPOINTS, "failed to find endpoint candidates for serving the request")
        drained = False
        screened: set[str | None] = set()
        for last_resort in (False, True):
            for place, candidate in enumerate(choice.candidates):
                serving = self._serving.of(candidate.model, endpoints)
                able = _those_in(room, serving)
                if last_resort or _any_usable(able, now):
                    found = self._run(request, candidate, now, _kept(prefer, able, now), able, screened=screened)
                    if found is not None:
                        receipt.excluded.pop(candidate.model, None)  # tried after all, as the last resort
                        if place:
                            self._forced(request, choice.candidates[0], candidate, receipt, now)
                        bound = place or last_resort or tried or prefer is not None
                        return found if bound else self._or_instead(found, choice, endpoints, room, receipt)
                drained = drained or (bool(able) and candidate.model not in screened)
                receipt.excluded[candidate.model] = _why_not(able, serving, screened=candidate.model in screened)
        if self.unknown_model == "forward":
            found = self._run(request, choice.candidates[0], now, endpoints, endpoints)
            if found is not None:
                return found
        if drained:
            raise Refused(Reason.SATURATED, "no endpoints available for the given request")
        if screened:
            raise Refused(Reason.NO_ENDPOINTS, "screeners eliminated all endpoint candidates")
        raise self._not_served(request, choice, aliases)

    def wants(self, choice: Choice, now: float) -> None:
        """One more request that wants the first of these; called once for each, before it waits and is chosen for."""
        if self.leaving is not None and len(choice.candidates) > 1:
            self.leaving.spill.asked(choice.candidates[0].model, now)

    def waiting(self, choice: Choice, subset: frozenset[str] | None, now: float) -> AbstractContextManager[Key]:
        """What a request waits for room by: its models that may answer, unless nobody is there for these."""
        every = _key(tuple([c.model for c in choice.candidates]), subset)
        if self.leaving is None or len(choice.candidates) == 1:
            return nullcontext(every)
        return self._near(self.leaving, choice, every, now)

    @contextmanager
    def _near(self, leaving: Leaving, choice: Choice, every: Key, now: float) -> Iterator[Key]:
        with leaving.waiting(choice.candidates, now) as near:
            key = every._replace(models=frozenset(c.model for c in near))
            yield key if any(e.reachable for e in self.eligible(key) or ()) else every

    def eligible(self, key: Key) -> Sequence[Endpoint] | None:
        """The endpoints that could serve any of these models, as `choose` would see it; None where there are none."""
        allowed = within(key.subset, self.pool.endpoints)
        if not allowed:
            return None
        if len(key.models) == 1:
            (model,) = key.models
            return self._serving.of(model, allowed)
        able = {id(e) for model in key.models for e in self._serving.of(model, allowed)}
        return [e for e in allowed if id(e) in able]

    def _or_instead(
        self,
        found: Chosen,
        choice: Choice,
        endpoints: Sequence[Endpoint],
        room: Sequence[Endpoint] | None,
        receipt: Receipt,
    ) -> Chosen:
        """What was found for the first candidate, or another that has to wait so much less."""
        leaving, (first, *rest) = self.leaving, choice.candidates
        if leaving is None or not rest:
            return found

        def others() -> Iterator[Chosen]:
            for candidate in rest:
                able = [e for e in _those_in(room, self._serving.of(candidate.model, endpoints)) if e.reachable]
                if leaving.near(candidate, first) and able:
                    other = self._run(found.query.request, candidate, found.query.now, able, able)
                    if other is not None:
                        yield other

        return leaving.instead(found, others(), receipt)

    def _forced(self, request: Request, wanted: Candidate, taken: Candidate, receipt: Receipt, now: float) -> None:
        if receipt.excluded.get(wanted.model) is not Exclusion.NO_ROOM:
            note_forced(receipt, wanted, taken, SpillReason.NO_ENDPOINT)
            return
        note_forced(receipt, wanted, taken, SpillReason.NO_ROOM)
        if self.leaving is not None:
            self.leaving.sent(request, wanted, taken, now)

    def _run(
        self,
        request: Request,
        candidate: Candidate,
        now: float,
        endpoints: Sequence[Endpoint],
        able: Sequence[Endpoint],
        *,
        screened: set[str | None] | None = None,
    ) -> Chosen | None:
        """A candidate of whose endpoints screeners keep none is noted in `screened`."""
        query = Query(request, candidate, now, self.rng, able=able)
        out: Sequence[tuple[Endpoint, str]] = ()
        if self.profile.screeners and able:
            query.able, out = self.profile.screen(query, able)
            endpoints = _those_in(query.able, endpoints) or query.able
            if not endpoints and screened is not None:
                screened.add(candidate.model)
        pick = self.profile.run(query, endpoints) if endpoints else None
        if pick is None:
            return None
        if out:
            pick.dropped = [*out, *pick.dropped]
        return Chosen(candidate, query, pick)

    def _not_served(self, request: Request, choice: Choice, aliases: frozenset[str]) -> Refused:
        wanted = ", ".join(f"`{c.model}`" for c in choice.candidates)
        if request.model in aliases:
            return Refused(Reason.NO_ENDPOINTS, f"no endpoint serves the models that may answer: {wanted}")
        names = ", ".join(sorted({*self.pool.names(), *aliases}))
        message = f"the model {wanted} does not exist here; these do: {names}"
        return Refused(Reason.MODEL_NOT_FOUND, message, param="model")


@lru_cache(1024)
def _key(models: tuple[str | None, ...], subset: frozenset[str] | None) -> Key:
    return Key(frozenset(models), subset)


def within(subset: frozenset[str] | None, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """The endpoints of the gateway's hint, which names them by `ip:port` or by `ip`, IPv6 with or without brackets."""
    if subset is None:
        return endpoints
    named = subset | {entry.strip("[]") for entry in subset}
    return [e for e in endpoints if e.address in named or e.address.rpartition(":")[0].strip("[]") in named]


def next_best(pick: Pick, count: int) -> list[str]:
    """The addresses of up to `count` more endpoints that can be reached, best first; of more, if the picker says so."""
    if pick.further:
        return [e.address for e in pick.further]
    if count == 0:
        return []
    ranked = sorted(zip(pick.totals, pick.endpoints, strict=True), key=lambda row: -row[0])
    return [e.address for _, e in ranked if e is not pick.endpoint and e.reachable][:count]


def _kept(prefer: Endpoint | None, able: Sequence[Endpoint], now: float) -> Sequence[Endpoint]:
    usable = prefer is not None and prefer.reachable and prefer.ejected_until <= now
    return [prefer] if prefer is not None and usable and prefer in able else able


def _why_not(able: Sequence[Endpoint], serving: Sequence[Endpoint], *, screened: bool) -> Exclusion:
    """Why a candidate has no endpoint to choose from, of those that serve it and those of them with room."""
    if screened:
        return Exclusion.SCREENED
    crowded = len(able) < len(serving) and any(e.reachable for e in serving)
    return Exclusion.NO_ROOM if crowded else Exclusion.NO_ENDPOINT


def _any_usable(endpoints: Sequence[Endpoint], now: float) -> bool:
    for e in endpoints:  # noqa: SIM110  # a generator for each request costs more than the first look
        if e.reachable and e.ejected_until <= now:
            return True
    return False


def _those_in(room: Sequence[Endpoint] | None, able: Sequence[Endpoint]) -> Sequence[Endpoint]:
    if room is None:
        return able
    inside = {id(e) for e in room}
    return [e for e in able if id(e) in inside]
