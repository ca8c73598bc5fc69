"""What requests will meet at endpoints, in seconds: the default policy chooses by it, and the gate lets in by it.

Everything is reckoned from the ledger, which is never stale, by speeds that are learned (`speed.py`); of the engine's
own samples only the KV cache in use and the pace of decoding count, and only while they are fresh. Must stay true:
asking changes nothing but the memory of speeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from epp.domain import Endpoint, Request
from epp.scheduling.prefix import Prefixes
from epp.scheduling.speed import Fit, Speed, shape

FRESH_S = 2.0  # for how long a sample of an engine counts
KV_EASY, KV_FULL = 0.8, 0.97  # parts of the KV cache: below the first there is no pressure, at the second it is 1


class Reckoner:
    """Speeds by endpoint, and what follows from them. `prefixes` tells what is cached where."""

    def __init__(self, prefixes: Prefixes | None = None) -> None:
        self.prefixes = prefixes
        self._pool = Fit()
        self._speeds: dict[Endpoint, Speed] = {}

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
        if self.prefixes is None:
            return 0
        cached = self.prefixes.cached(request, request.model, endpoints)
        return min(max(cached.values(), default=0), max(0, request.prompt_tokens - 1))
