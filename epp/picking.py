"""From candidates to one endpoint: who is allowed, who serves the model, who scores best.

Must stay true: nothing here awaits; the pool is read once for each choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from epp.datastore.pool import Pool
from epp.domain import (
    Candidate,
    Choice,
    Endpoint,
    Exclusion,
    Reason,
    Receipt,
    Refused,
    Request,
    Spilled,
    SpillReason,
)
from epp.protocol.session import session
from epp.scheduling.framework import Pick, Profile, Query
from epp.scheduling.spill import Forecast, Option, Spill


@dataclass(slots=True)
class Chosen:
    """A candidate and its endpoint; `query` and `pick` say how it came about."""

    candidate: Candidate
    query: Query
    pick: Pick


@dataclass(slots=True)
class Picking:
    """Picks among one pool's endpoints by one profile.

    With a `spill`, and a part of the profile that can say how long requests wait, a request may leave a busy model.
    """

    pool: Pool
    profile: Profile
    rng: Random
    unknown_model: Literal["refuse", "forward"] = "refuse"
    spill: Spill | None = None
    _forecast: Forecast | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._forecast = next((part for part in self.profile.plugins if isinstance(part, Forecast)), None)

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
    ) -> Chosen:
        """The first candidate with an endpoint that can be reached; if there is none, the first with any.

        Or one of those after it, where the wait is too long. `prefer` is kept if it will do, and its model with it;
        `tried` is left out while anyone else is there. Raises Refused.
        """
        allowed = within(request.subset, self.pool.endpoints)
        endpoints = [e for e in allowed if e not in tried] or allowed
        if not endpoints:
            raise Refused(Reason.NO_ENDPOINTS, "failed to find endpoint candidates for serving the request")
        drained = False
        for last_resort in (False, True):
            for place, candidate in enumerate(choice.candidates):
                able = _serving(candidate.model, endpoints)
                drained = drained or bool(able)
                if last_resort or any(e.reachable for e in able):
                    found = self._run(request, candidate, now, _kept(prefer, able))
                    if found is not None:
                        receipt.excluded.pop(candidate.model, None)  # tried after all, as the last resort
                        _note_no_endpoint(receipt, choice, candidate)
                        rest = choice.candidates[place + 1 :]
                        bound = last_resort or tried or prefer is not None
                        return found if bound else self._spill(found, rest, endpoints, receipt)
                receipt.excluded[candidate.model] = Exclusion.NO_ENDPOINT
        if self.unknown_model == "forward":
            found = self._run(request, choice.candidates[0], now, endpoints)
            if found is not None:
                return found
        if drained:
            raise Refused(Reason.SATURATED, "no endpoints available for the given request")
        raise self._not_served(request, choice, aliases)

    def _spill(
        self, found: Chosen, rest: Sequence[Candidate], endpoints: Sequence[Endpoint], receipt: Receipt
    ) -> Chosen:
        """The preferred model's choice, or that of a later candidate that has to wait so much less."""
        spill, forecast, query = self.spill, self._forecast, found.query
        if spill is None or forecast is None or not rest:
            return found
        chosen = {found.candidate.model: found}
        preferred = _option(found, forecast)

        def others() -> Iterator[Option]:
            margin_max = found.candidate.margin + spill.rules.margin_max
            for candidate in rest:
                able = [e for e in _serving(candidate.model, endpoints) if e.reachable]
                if candidate.margin <= margin_max and able:
                    other = self._run(query.request, candidate, query.now, able)
                    if other is not None:
                        chosen[candidate.model] = other
                        yield _option(other, forecast)

        verdict = spill.judge(preferred, others(), lambda: session(query.request), query.now)
        if verdict.reason is not None:
            moved = verdict.option.model != preferred.model
            best = verdict.option if moved else verdict.best
            receipt.spill = Spilled(
                origin=preferred.model,
                to=verdict.option.model if moved else None,
                reason=verdict.reason,
                wait_s=preferred.wait_s,
                ttft_s=preferred.ttft_s,
                ttft_to_s=best.ttft_s if best else None,
            )
        return chosen[verdict.option.model]

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


def _option(chosen: Chosen, forecast: Forecast) -> Option:
    query, endpoint = chosen.query, chosen.pick.endpoint
    return Option(
        chosen.candidate.model,
        forecast.wait_s(query, endpoint),
        forecast.ttft_s(query, endpoint),
        query.cached.get(endpoint, 0),
    )


def _note_no_endpoint(receipt: Receipt, choice: Choice, taken: Candidate) -> None:
    """A later candidate answers, since nobody was there for the first."""
    wanted = choice.candidates[0]
    if taken is not wanted:
        receipt.spill = Spilled(wanted.model, taken.model, SpillReason.NO_ENDPOINT)


def _kept(prefer: Endpoint | None, able: Sequence[Endpoint]) -> Sequence[Endpoint]:
    return [prefer] if prefer is not None and prefer.reachable and prefer in able else able


def _serving(model: str | None, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Those that say they serve the model; if none says so, those of which nobody has told what they serve."""
    if model is None:
        return endpoints
    told = [e for e in endpoints if (serves := e.serves) is not None and model in serves]
    return told or [e for e in endpoints if e.serves is None]
