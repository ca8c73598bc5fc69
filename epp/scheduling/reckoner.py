"""What requests will meet at endpoints, in seconds: the default policy chooses by it, and the gate lets in by it.

Everything is reckoned from the ledger, which is never stale, by speeds that are learned (`speed.py`); the engine's own
samples tell what the ledger cannot: the KV cache in use, the pace of decoding, and the requests that others sent there.
They count only while they are fresh. Must stay true:
asking changes nothing but the memory of speeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from epp.domain import Cost, Endpoint, Request
from epp.scheduling.adapters import adapter_of, slot_wait_s
from epp.scheduling.prefix import Prefixes
from epp.scheduling.shared import marks_of, spared
from epp.scheduling.speed import PAIR_S, TOKEN_S, Speed, Typical, shape

FRESH_S = 2.0  # for how long a sample of an engine counts
KV_SLOWS = 0.5  # a full KV cache makes a step of decoding longer by about so much
KV_DEAR = 0.75  # the part of the KV cache from which on a request costs more
ROOM_GONE = 1.01  # the part of the KV cache at which room would cost all there is
PAUSE_S = 0.1  # for so long the next token of an answer may fail to come, and no usual SLO is missed by it
BEHIND_MAX = 2  # prompts before one's own that count; in a burst all have many, and then the seconds decide
KV_EASY, KV_FULL = 0.85, 0.99  # parts of the KV cache: below the first there is no pressure, at the second it is 1
ROUNDING = 1e-9
NOTHING: Mapping[Endpoint, int] = {}


@dataclass(frozen=True, slots=True)
class Prices:
    """What a second of a request's own work costs others, as in `plugins/least_work.py`."""

    arrivals: float = 3.0
    decodes: float = 0.2
    full: float = 4.0
    behind: float = 12.0
    room: float = 60.0

    def __post_init__(self) -> None:
        for name in ("arrivals", "decodes", "full", "behind", "room"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be finite and not negative")


Meets = tuple[float, float, float]
"""Seconds until a prompt sent now would begin to be computed, the requests of others included; how full the KV cache
would be, 0 where it is easy and 1 where it is full; seconds from token to token of late, 0 where they are not known."""


@dataclass(slots=True)
class Wants:
    """Predicted seconds of a request's prefill where most of it is cached, and where nothing is; the prompt tokens for
    which room must be found in a KV cache, less those `cached` there; by endpoint, and at all others, how much more is
    to be computed there than where most is cached (as a `shape`, in seconds)."""

    own_s: float
    alone_s: float
    tokens: int
    extra: Mapping[Endpoint, float] | None = None
    extra_elsewhere: float = 0.0
    cached: Mapping[Endpoint, int] = field(default_factory=dict)


class Reckoner:
    """Speeds by endpoint, and what follows from them. `prefixes` tells what is cached where."""

    def __init__(self, prices: Prices | None = None, prefixes: Prefixes | None = None) -> None:
        self.prices = prices or Prices()
        self.prefixes = prefixes
        self._typical = Typical()
        self._speeds: dict[Endpoint, Speed] = {}
        self._listed: Sequence[Endpoint] = ()  # a tuple that was asked about last, and what is known of its endpoints
        self._known: Sequence[Speed] = ()

    def costs(
        self,
        prompt: int,
        cached: Mapping[Endpoint, int],
        endpoints: Sequence[Endpoint],
        now: float,
        *,
        adapter: str | None = None,
        marks: Sequence[int] = (),
    ) -> tuple[list[float], list[float], list[float]]:
        """In seconds at each endpoint: what a prompt of so many tokens costs, its wait there, and its own prefill.

        `marks` are the prompt's (`shared.py`), by which its room is shared with requests in flight.
        """
        prices = self.prices
        own, decodes, full, behind = 1.0 + prices.arrivals, prices.decodes, prices.full, prices.behind
        price, first = prices.room, marks[0] if marks else None
        oldest, typical = now - FRESH_S, self._typical
        young = typical.young
        start, k, cold = typical.a * typical.level, typical.k * typical.level, typical.usual(shape(prompt, 0))
        costs, waits, works = [], [], []
        hit_before, warm = 0, cold
        for e, known in zip(endpoints, self._of(endpoints), strict=True):  # a hundred of them a request: no calls here
            if known.load is not e.load:
                known.look(e.load, e.inflight_requests)
            computed, work = prompt, cold
            if cached and (hit := cached.get(e, 0)):
                if hit != hit_before:  # most often all that hold some of it hold as much
                    hit_before, warm = hit, start + k * shape_of(prompt, hit)
                computed, work = prompt - hit, warm
            waiting = e.work_s
            if waiting:
                elapsed = now - e.work_since
                waiting -= elapsed if elapsed < e.work_head_s else e.work_head_s
                if young:
                    waiting = min(waiting, self._at_most(e, known))
            if adapter is not None:
                waiting += slot_wait_s(adapter, e)
            requests: float = e.inflight_requests
            others, room = 1.0, 0.0
            if known.sampled_at >= oldest:
                if known.others:
                    requests += known.others - known.others_waiting
                    waiting += known.others_waiting * start * known.ratio
                held = known.held + (e.inflight_tokens + computed) * known.per_token
                others += KV_SLOWS * held
                if held > KV_DEAR:
                    others += full * (held - KV_DEAR) / (KV_FULL - KV_DEAR)
                kept: float = prompt
                if first in e.inflight_prefixes:
                    kept -= spared(marks, e.inflight_prefixes)
                room = price * kept * known.per_token * held / (ROOM_GONE - held if held < 1.0 else ROOM_GONE - 1.0)
            work *= known.ratio
            cost = (waiting + own * work) * (others + decodes * requests) + room
            if work > PAUSE_S and e.work_prompts:
                cost += behind * (work - PAUSE_S) * min(e.work_prompts, BEHIND_MAX)
            costs.append(cost)
            waits.append(waiting)
            works.append(work)
        return costs, waits, works

    def _at_most(self, e: Endpoint, known: Speed) -> float:
        """What the prompts outstanding there take at most, by what is known now and not when they were charged.

        Where replicas are many times faster than was assumed, those that were sent the first prompts of a burst would
        look busy for as long as that was to take. Every prompt is taken to attend to the context of all.
        """
        typical, computed = self._typical, e.inflight_tokens * (TOKEN_S + PAIR_S * e.context_tokens)
        return known.ratio * typical.level * (e.work_prompts * typical.a + typical.k * computed)

    def speed(self, endpoint: Endpoint) -> Speed:
        """What is known of an endpoint; of one that is new, what is known of the others."""
        found = self._speeds.get(endpoint)
        if found is None:
            found = self._speeds[endpoint] = Speed(self._typical)
        if endpoint.load is not found.load:
            found.look(endpoint.load, endpoint.inflight_requests)
        return found

    def _of(self, endpoints: Sequence[Endpoint]) -> Sequence[Speed]:
        """What is known of each, whether or not its last sample was looked at."""
        if endpoints is self._listed:
            return self._known
        speeds, typical = self._speeds, self._typical
        known = [speeds.get(e) or speeds.setdefault(e, Speed(typical)) for e in endpoints]
        if isinstance(endpoints, tuple):  # a list may change
            self._listed, self._known = endpoints, known
        return known

    def keep(self, endpoints: Iterable[Endpoint]) -> None:
        """Forget all endpoints but these."""
        self._listed = self._known = ()
        stay = set(endpoints)
        for endpoint in [e for e in self._speeds if e not in stay]:
            del self._speeds[endpoint]

    # What the gate asks.

    def wants(self, request: Request, endpoints: Sequence[Endpoint]) -> Wants:
        """What a request takes, wherever it goes."""
        cached = self._cached(request, endpoints)
        prompt = request.prompt_tokens
        alone_s = self._typical.usual(shape(prompt, 0))
        if not cached:
            return Wants(alone_s, alone_s, prompt)
        hit = min(max(cached.values()), max(0, prompt - 1))
        own_s = self._typical.usual(shape_of(prompt, hit)) if hit else alone_s
        k, least = self._typical.k * self._typical.level, shape_of(prompt, hit)
        extra = {e: k * (shape_of(prompt, tokens) - least) for e, tokens in cached.items()}
        return Wants(own_s, alone_s, prompt, extra, k * (shape(prompt, 0) - least), cached)

    def meets(
        self, endpoints: Sequence[Endpoint], tokens: float, now: float, cached: Mapping[Endpoint, int] = NOTHING
    ) -> list[Meets]:
        """What a request that needs room for so many tokens, less what is cached there, would meet at each endpoint."""
        oldest = now - FRESH_S
        start, young, found = self._typical.usual(0.0), self._typical.young, []
        for e, known in zip(endpoints, self._of(endpoints), strict=True):
            if known.load is not e.load:
                known.look(e.load, e.inflight_requests)
            waits_s = e.work_s
            if waits_s:
                elapsed = now - e.work_since
                waits_s -= elapsed if elapsed < e.work_head_s else e.work_head_s
                if young:
                    waits_s = min(waits_s, self._at_most(e, known))
            if known.sampled_at < oldest:
                found.append((waits_s, 0.0, 0.0))
                continue
            # Where nobody tells when prefills are over, the engine's own queue is the only sign that it fell behind.
            a = start * known.ratio
            waits_s = max(waits_s + known.others_waiting * a, known.waiting * a)
            added = tokens - cached.get(e, 0) if cached else tokens
            held = known.held + (e.inflight_tokens + added) * known.per_token
            found.append((waits_s, (held - KV_EASY) / (KV_FULL - KV_EASY), known.pace_s))
        return found

    def goes(self, request: Request, endpoints: Sequence[Endpoint], now: float) -> tuple[Endpoint, Cost]:
        """Where among these the request costs least, and what it takes there."""
        prompt, cached, model = request.prompt_tokens, self._cached(request, endpoints), request.target or request.model
        adapter, marks = adapter_of(model, endpoints), () if self.prefixes is None else marks_of(request, model)
        costs, _, works = self.costs(prompt, cached, endpoints, now, adapter=adapter, marks=marks)
        place = costs.index(min(costs))
        tokens = max(0, prompt - cached.get(endpoints[place], 0))
        return endpoints[place], Cost(tokens, prompt, works[place], adapter=adapter, prefixes=marks)

    def calm(self, endpoints: Sequence[Endpoint], tokens: float, now: float, most: Meets) -> bool:
        """Whether every endpoint can be reached and has nothing in flight, or no more to meet than `most` of each.

        By the numbers of `meets`, without making them: where nothing is near a limit, which is nearly always, no more
        is asked. In doubt it is not calm.
        """
        wait_s, full, pace_s = most
        if wait_s < 0:
            return False
        oldest, start, young = now - FRESH_S, self._typical.usual(0.0), self._typical.young
        held_max = KV_EASY + full * (KV_FULL - KV_EASY) - ROUNDING
        for e, known in zip(endpoints, self._of(endpoints), strict=True):
            if not e.reachable:
                return False
            if known.load is not e.load:
                known.look(e.load, e.inflight_requests)
            if not e.inflight_requests:
                continue
            waits_s = e.work_s
            if waits_s:
                elapsed = now - e.work_since
                waits_s -= elapsed if elapsed < e.work_head_s else e.work_head_s
                if young:
                    waits_s = min(waits_s, self._at_most(e, known))
            if known.sampled_at >= oldest:
                if known.waiting:
                    a = start * known.ratio
                    waits_s = max(waits_s + known.others_waiting * a, known.waiting * a)
                if known.held + (e.inflight_tokens + tokens) * known.per_token > held_max or known.pace_s > pace_s:
                    return False
            if waits_s > wait_s:
                return False
        return True

    def _cached(self, request: Request, endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, int]:
        """By the model that will answer, or the one it names while that is not known."""
        if self.prefixes is None:
            return {}
        return self.prefixes.cached(request, request.target or request.model, endpoints)


def shape_of(prompt: int, hit: int) -> float:
    """At least one token is always computed: the next one is sampled from its output."""
    if hit:
        hit = min(hit, max(0, prompt - 1))
    return shape(prompt - hit, hit)
