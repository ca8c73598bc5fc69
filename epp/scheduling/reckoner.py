"""What requests will meet at endpoints, in seconds: the default policy chooses by it, and the gate lets in by it.

Everything is reckoned from the ledger, which is never stale, by speeds that are learned (`speed.py`); of the engine's
own samples only the KV cache in use and the pace of decoding count, and only while they are fresh. Must stay true:
asking changes nothing but the memory of speeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from epp.domain import Endpoint, Request
from epp.scheduling.prefix import Prefixes
from epp.scheduling.speed import Fit, Speed, shape

FRESH_S = 2.0  # for how long a sample of an engine counts
KV_EASY, KV_FULL = 0.85, 0.99  # parts of the KV cache: below the first there is no pressure, at the second it is 1


@dataclass(frozen=True, slots=True)
class Prices:
    """What a second of a request's own work costs others, as in `plugins/least_work.py`."""

    arrivals: float = 3.0
    decodes: float = 0.2
    full: float = 4.0

    def __post_init__(self) -> None:
        for name in ("arrivals", "decodes", "full"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be finite and not negative")


class Reckoner:
    """Speeds by endpoint, and what follows from them. `prefixes` tells what is cached where."""

    def __init__(self, prices: Prices | None = None, prefixes: Prefixes | None = None) -> None:
        self.prices = prices or Prices()
        self.prefixes = prefixes
        self._pool = Fit()
        self._speeds: dict[Endpoint, Speed] = {}

    def costs(
        self, prompt: int, cached: Mapping[Endpoint, int], endpoints: Sequence[Endpoint], now: float
    ) -> list[float]:
        """What a prompt of so many tokens costs at each endpoint, in seconds."""
        own, decodes, full = 1.0 + self.prices.arrivals, self.prices.decodes, self.prices.full
        cold, speed, oldest = shape(prompt, 0), self.speed, now - FRESH_S
        costs = []
        for e in endpoints:
            fit = speed(e).fit
            hit = cached.get(e, 0) if cached else 0
            work = cold if not hit else shape_of(prompt, hit)
            waiting = e.work_s
            if waiting:
                elapsed = now - e.work_since
                waiting -= elapsed if elapsed < e.work_head_s else e.work_head_s
            others = 1.0 + decodes * e.inflight_requests
            load = e.load
            if load is not None and load.kv_usage is not None and load.at >= oldest:
                held = load.kv_usage
                if load.num_blocks and load.block_size:
                    held += (e.inflight_tokens + prompt - hit) / (load.num_blocks * load.block_size)
                if held > KV_EASY:
                    others += full * (held - KV_EASY) / (KV_FULL - KV_EASY)
            costs.append((waiting + own * (fit.a + fit.k * work)) * others)
        return costs

    def speed(self, endpoint: Endpoint) -> Speed:
        """What is known of an endpoint; of one that is new, what is known of the others."""
        found = self._speeds.get(endpoint)
        if found is None:
            found = self._speeds[endpoint] = Speed(Fit(self._pool.a, self._pool.k))
        if endpoint.load is not found._load:
            found.look(endpoint.load)
        return found

    def computed(self, endpoint: Endpoint, shape_s: float, sent_at: float, now: float) -> None:
        """A prompt of this shape, sent then, has its first token now."""
        speed = self.speed(endpoint)
        self._pool.learn(shape_s, max(0.0, now - max(sent_at, speed.done_at)))
        speed.computed(shape_s, sent_at, now)

    def keep(self, endpoints: Iterable[Endpoint]) -> None:
        """Forget all endpoints but these."""
        stay = set(endpoints)
        for endpoint in [e for e in self._speeds if e not in stay]:
            del self._speeds[endpoint]

    # What the gate asks.

    def own_s(self, request: Request, endpoints: Sequence[Endpoint]) -> float:
        """Seconds of the request's prefill where most of it is cached, if nothing else is to be done there."""
        cached = self._most_cached(request, endpoints)
        return self._pool.seconds(shape(max(1, request.prompt_tokens - cached), cached))

    def isolated_s(self, request: Request) -> float:
        """Seconds of the request's prefill where nothing of it is cached."""
        return self._pool.seconds(shape(request.prompt_tokens, 0))

    def backlog_s(self, endpoint: Endpoint, now: float) -> float:
        """Predicted seconds until a prompt sent now would begin to be computed."""
        return endpoint.outstanding_s(now)

    def extra_s(self, request: Request, endpoints: Sequence[Endpoint]) -> list[float]:
        """Seconds of prefill at each endpoint that would not be needed where most of the prompt is cached."""
        prompt, cached = request.prompt_tokens, self._cached(request, endpoints)
        if not cached:
            return [0.0] * len(endpoints)
        shapes = [shape_of(prompt, cached.get(e, 0)) for e in endpoints]
        least = min(shapes)
        return [self.speed(e).fit.k * (one - least) for e, one in zip(endpoints, shapes, strict=True)]

    def room(self, request: Request, endpoints: Sequence[Endpoint]) -> float:
        """The prompt tokens for which an endpoint must find room in its KV cache."""
        return request.prompt_tokens - self._most_cached(request, endpoints)

    def kv_pressure(self, endpoint: Endpoint, tokens: float, now: float) -> float:
        """How full the KV cache would be with so many tokens more: 0 where it is easy, 1 where it is full."""
        load = endpoint.load
        if load is None or now - load.at > FRESH_S or load.kv_usage is None:
            return 0.0
        held = load.kv_usage
        if load.num_blocks and load.block_size:
            held += (endpoint.inflight_tokens + tokens) / (load.num_blocks * load.block_size)
        return (held - KV_EASY) / (KV_FULL - KV_EASY)

    def pace_s(self, endpoint: Endpoint, now: float) -> float:
        """Seconds from token to token at an endpoint of late; 0 where it is not known."""
        load = endpoint.load
        if load is None or now - load.at > FRESH_S:
            return 0.0
        return self.speed(endpoint).pace_s

    def _most_cached(self, request: Request, endpoints: Sequence[Endpoint]) -> int:
        most = max(self._cached(request, endpoints).values(), default=0)
        return min(most, max(0, request.prompt_tokens - 1))

    def _cached(self, request: Request, endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, int]:
        """By the model it names; of an alias nobody has cached anything."""
        return {} if self.prefixes is None else self.prefixes.cached(request, request.model, endpoints)


def shape_of(prompt: int, hit: int) -> float:
    """At least one token is always computed: the next one is sampled from its output."""
    hit = min(hit, max(0, prompt - 1))
    return shape(prompt - hit, hit)
