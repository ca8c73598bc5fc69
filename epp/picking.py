"""From candidates to one endpoint: who is allowed, who serves the model, who scores best.

Must stay true: nothing here awaits; the pool is read once for each choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from epp.datastore.pool import Pool
from epp.domain import Candidate, Choice, Endpoint, Reason, Receipt, Refused, Request
from epp.flow.ticket import Key
from epp.scheduling.framework import Pick, Profile, Query


@dataclass(slots=True)
class Chosen:
    """A candidate and its endpoint; `query` and `pick` say how it came about."""

    candidate: Candidate
    query: Query
    pick: Pick


@dataclass(slots=True)
class Picking:
    """Picks among one pool's endpoints by one profile."""

    pool: Pool
    profile: Profile
    rng: Random
    unknown_model: Literal["refuse", "forward"] = "refuse"

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

        `prefer` is kept if it will do; `tried` is left out while anyone else is there; where `room` is given, only
        those in it are chosen. Raises Refused.
        """
        allowed = within(request.subset, self.pool.endpoints)
        endpoints = [e for e in allowed if e not in tried] or allowed
        if not endpoints:
            raise Refused(Reason.NO_ENDPOINTS, "failed to find endpoint candidates for serving the request")
        drained = False
        for last_resort in (False, True):
            for candidate in choice.candidates:
                able = _those_in(room, _serving(candidate.model, endpoints))
                drained = drained or bool(able)
                if last_resort or any(e.reachable for e in able):
                    found = self._run(request, candidate, now, _kept(prefer, able))
                    if found is not None:
                        return found
                receipt.excluded[candidate.model] = "no usable endpoint serves it"
        if self.unknown_model == "forward":
            found = self._run(request, choice.candidates[0], now, endpoints)
            if found is not None:
                return found
        if drained:
            raise Refused(Reason.SATURATED, "no endpoints available for the given request")
        raise self._not_served(request, choice, aliases)

    def eligible(self, key: Key) -> Sequence[Endpoint] | None:
        """The endpoints that could serve any of these models, as `choose` would see it; None where there are none."""
        allowed = within(key.subset, self.pool.endpoints)
        if not allowed:
            return None
        if len(key.models) == 1:
            return _serving(next(iter(key.models)), allowed)
        able = {id(e) for model in key.models for e in _serving(model, allowed)}
        return [e for e in allowed if id(e) in able]

    def _run(self, request: Request, candidate: Candidate, now: float, endpoints: Sequence[Endpoint]) -> Chosen | None:
        query = Query(request, candidate, now, self.rng)
        pick = self.profile.run(query, endpoints) if endpoints else None
        return None if pick is None else Chosen(candidate, query, pick)

    def _not_served(self, request: Request, choice: Choice, aliases: frozenset[str]) -> Refused:
        wanted = ", ".join(f"`{c.model}`" for c in choice.candidates)
        if request.model in aliases:
            return Refused(Reason.NO_ENDPOINTS, f"no endpoint serves the models that may answer: {wanted}")
        names = ", ".join(sorted({*self.pool.names(), *aliases}))
        message = f"the model {wanted} does not exist here; these do: {names}"
        return Refused(Reason.MODEL_NOT_FOUND, message, param="model")


def within(subset: frozenset[str] | None, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """The endpoints of the gateway's hint, which names them by `ip:port` or by `ip`, IPv6 with or without brackets."""
    if subset is None:
        return endpoints
    named = subset | {entry.strip("[]") for entry in subset}
    return [e for e in endpoints if e.address in named or e.address.rpartition(":")[0].strip("[]") in named]


def next_best(pick: Pick, count: int) -> list[str]:
    """The addresses of up to `count` more endpoints that can be reached, best first."""
    if count == 0:
        return []
    ranked = sorted(zip(pick.totals, pick.endpoints, strict=True), key=lambda row: -row[0])
    return [e.address for _, e in ranked if e is not pick.endpoint and e.reachable][:count]


def _kept(prefer: Endpoint | None, able: Sequence[Endpoint]) -> Sequence[Endpoint]:
    return [prefer] if prefer is not None and prefer.reachable and prefer in able else able


def _those_in(room: Sequence[Endpoint] | None, able: Sequence[Endpoint]) -> Sequence[Endpoint]:
    if room is None:
        return able
    inside = {id(e) for e in room}
    return [e for e in able if id(e) in inside]


def _serving(model: str | None, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Those that say they serve the model; if none says so, those of which nobody has told what they serve."""
    if model is None:
        return endpoints
    told = [e for e in endpoints if (serves := e.serves) is not None and model in serves]
    return told or [e for e in endpoints if e.serves is None]
