"""The endpoints we may use, and the ledger of what we sent to them.

Must stay true: an endpoint keeps its identity across relists, so a lease taken before a relist is released on the
same object; the ledger of an endpoint is the sum of the open charges on it, whatever happens to the pool meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from weakref import WeakValueDictionary

from epp.datastore.policies import Policies
from epp.domain import Cost, Endpoint

Known = MutableMapping[tuple[str, str], Endpoint]


@dataclass(slots=True, frozen=True)
class Listed:
    """An endpoint as discovery knows it; `declared` as in `Endpoint`.

    `pod` stands for the name where pools may call one endpoint by different names (by the rank of its port), and where
    a name and its address may come back as another pod, whose models and load are its own.
    """

    name: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, str] | None = None
    pod: str = field(default="", compare=False)


class _Charge:
    """One request on one endpoint (or what a peer has there), for as long as someone holds it."""

    __slots__ = (
        "adapter",
        "beside",
        "blind",
        "context",
        "critical",
        "endpoint",
        "holders",
        "line",
        "prefixes",
        "requests",
        "tokens",
        "work_s",
    )

    def __init__(self, endpoint: Endpoint, cost: Cost, requests: int, line: _Line, now: float) -> None:
        self.endpoint = endpoint
        self.holders = 0
        self.requests = requests
        self.tokens, self.context, self.work_s = cost.tokens, cost.context, cost.work_s
        self.critical = requests if cost.critical else 0
        self.blind = cost.blind and cost.work_s > 0
        self.adapter, self.prefixes = cost.adapter, cost.prefixes
        self.line = line
        self.beside: Sequence[_Charge] = ()
        self._enter(now)

    def release(self, now: float) -> None:
        """Those that worked for it are done."""
        beside, self.beside = self.beside, ()
        for charge in beside:
            charge.leave(now)

    def enter(self, endpoint: Endpoint, line: _Line, now: float) -> None:
        """Be counted at another endpoint."""
        self.leave(now)
        self.endpoint, self.line = endpoint, line
        self._enter(now)

    def prefilled(self, now: float) -> None:
        """The prompt is computed; its context stays."""
        self.endpoint.inflight_tokens -= self.tokens
        self.tokens = 0
        self.line.pass_blind(self, now)
        self.line.leave(self, now)
        self.work_s = 0.0
        assert self.endpoint.inflight_tokens >= 0

    def leave(self, now: float) -> None:
        """Be counted nowhere."""
        endpoint = self.endpoint
        self.line.leave(self, now)
        endpoint.inflight_requests -= self.requests
        endpoint.inflight_critical -= self.critical
        if self.adapter is not None:
            left = endpoint.inflight_adapters[self.adapter] - self.requests
            if left:
                endpoint.inflight_adapters[self.adapter] = left
            else:
                del endpoint.inflight_adapters[self.adapter]
        if self.prefixes:
            counts = endpoint.inflight_prefixes
            for each in self.prefixes:
                if left := counts[each] - self.requests:
                    counts[each] = left
                else:
                    del counts[each]
        endpoint.inflight_tokens -= self.tokens
        endpoint.context_tokens -= self.context
        assert endpoint.inflight_requests >= 0
        assert endpoint.inflight_tokens >= 0
        assert endpoint.context_tokens >= 0

    def _enter(self, now: float) -> None:
        endpoint = self.endpoint
        endpoint.inflight_requests += self.requests
        endpoint.inflight_critical += self.critical
        if self.adapter is not None:
            adapters = endpoint.inflight_adapters
            adapters[self.adapter] = adapters.get(self.adapter, 0) + self.requests
        if self.prefixes:
            counts = endpoint.inflight_prefixes
            for each in self.prefixes:
                counts[each] = counts.get(each, 0) + self.requests
        endpoint.inflight_tokens += self.tokens
        endpoint.context_tokens += self.context
        self.line.join(self, now)


class _Line:
    """The charges of one endpoint whose prompts are not computed yet, oldest first; keeps the endpoint's `work_*`.

    Engines prefill in order of arrival, so time that passes is credited to the oldest, and never beyond its share.
    """

    __slots__ = ("charges", "endpoint")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.charges: dict[_Charge, None] = {}

    def join(self, charge: _Charge, now: float) -> None:
        if not charge.work_s:
            return
        if not self.charges:
            self.endpoint.work_since, self.endpoint.work_head_s = now, charge.work_s
        self.charges[charge] = None
        self.endpoint.work_s += charge.work_s
        self.endpoint.work_prompts = len(self.charges)

    def pass_blind(self, charge: _Charge, now: float) -> None:
        """This one has its first token, so those before it have theirs, also where nobody told us."""
        if charge not in self.charges:
            return
        while (head := next(iter(self.charges))) is not charge and head.blind:
            head.prefilled(now)

    def leave(self, charge: _Charge, now: float) -> None:
        if charge not in self.charges:
            return
        head = next(iter(self.charges))
        del self.charges[charge]
        endpoint = self.endpoint
        endpoint.work_prompts = len(self.charges)
        if not self.charges:
            endpoint.work_s = endpoint.work_head_s = 0.0  # exactly: sums of floats drift
            return
        endpoint.work_s = max(0.0, endpoint.work_s - charge.work_s)
        if charge is head:
            endpoint.work_since, endpoint.work_head_s = now, next(iter(self.charges)).work_s


class Lease:
    """A hold on a charge; the last hold that is closed gives it back. Closing twice is harmless."""

    __slots__ = ("_charge", "_pool", "open")

    def __init__(self, charge: _Charge, pool: Pool) -> None:
        self._charge = charge
        self._pool = pool
        self.open = True
        charge.holders += 1

    @property
    def endpoint(self) -> Endpoint:
        """Where the request is charged."""
        return self._charge.endpoint

    @property
    def holders(self) -> int:
        """How many hold it."""
        return self._charge.holders

    @property
    def charged(self) -> bool:
        """Whether anyone still holds it."""
        return self._charge.holders > 0

    @property
    def blind(self) -> bool:
        """Whether the ledger itself says when the prompt is computed, since the gateway will not."""
        return self._charge.blind

    def join(self) -> Lease:
        """A hold of one's own on the same charge: one request that more than one stream shows us."""
        assert self.charged
        return Lease(self._charge, self._pool)

    def prefilled(self, now: float = 0.0) -> None:
        """The first answer byte is here: the prompt no longer waits to be computed, and who prefilled it is done."""
        if self.open:
            self._charge.prefilled(now)
            self._charge.release(now)
            self._pool.on_room()

    def move(self, endpoint: Endpoint, now: float = 0.0) -> None:
        """Another endpoint turned out to serve the request: what is still held is held there."""
        if self.open:
            self._charge.enter(endpoint, self._pool.line(endpoint), now)
            self._pool.on_room()

    def close(self, now: float = 0.0) -> None:
        """Let go."""
        if not self.open:
            return
        self.open = False
        self._charge.holders -= 1
        if self._charge.holders == 0:
            self._charge.leave(now)
            self._charge.release(now)
            self._pool.on_room()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pool:
    """The current endpoints as a shared tuple (read it after every wait), and the leases on them.

    `known` is shared by pools that may list the same endpoints. It forgets an endpoint when nobody holds it any more,
    so one that leaves and comes back while requests are open on it is the same object with the same ledger.
    `policies` are the objectives and model rewrites that apply to the pool. `on_room` is called when an endpoint may
    have become less busy.
    """

    def __init__(
        self, name: str = "default", known: Known | None = None, on_room: Callable[[], None] = lambda: None
    ) -> None:
        self.name = name
        self.on_room = on_room
        self.endpoints: tuple[Endpoint, ...] = ()
        self.policies = Policies()
        self._known: Known = WeakValueDictionary() if known is None else known
        self._blind: list[tuple[float, int, _Charge]] = []
        self._order = count()

    def relist(self, listed: Iterable[Listed]) -> None:
        """Replace the list; an endpoint with a known name (or pod) and address stays the same object."""
        endpoints = [self._endpoint(item) for item in listed]
        assert len({(e.name, e.address) for e in endpoints}) == len(endpoints), "an endpoint is listed twice"
        self.endpoints = tuple(endpoints)

    def _endpoint(self, item: Listed) -> Endpoint:
        identity = item.pod or item.name, item.address
        endpoint = self._known.get(identity)
        if endpoint is None:
            endpoint = self._known[identity] = Endpoint(item.name, item.address, limited=True)
        endpoint.labels, endpoint.declared = item.labels, item.declared
        return endpoint

    def at(self, address: str) -> Endpoint | None:
        """The endpoint of that `ip:port`."""
        return next((e for e in self.endpoints if e.address == address), None)

    def lease(
        self,
        endpoint: Endpoint,
        cost: Cost | int,
        requests: int = 1,
        now: float = 0.0,
        beside: Sequence[tuple[Endpoint, Cost]] = (),
    ) -> Lease:
        """Charge one request and what it takes now, not at the next scrape; a number is tokens alone.

        Those `beside` work for it until the first byte of its answer.
        """
        cost = Cost(cost) if isinstance(cost, int) else cost
        charge = _Charge(endpoint, cost, requests, self.line(endpoint), now)
        charge.beside = [_Charge(e, each, requests, self.line(e), now) for e, each in beside]
        if charge.blind:
            heappush(self._blind, (now + endpoint.outstanding_s(now), next(self._order), charge))
        return Lease(charge, self)

    def settle(self, now: float) -> None:
        """Prefills of which nobody will tell us are over when they should be."""
        while self._blind and self._blind[0][0] <= now:
            _, _, charge = heappop(self._blind)
            if charge.holders:
                charge.prefilled(now)

    def settles_at(self) -> float | None:
        """When the next of these should be over."""
        return self._blind[0][0] if self._blind else None

    def line(self, endpoint: Endpoint) -> _Line:
        """Who waits for prefill at an endpoint."""
        if endpoint.line is None:
            endpoint.line = _Line(endpoint)
        found: _Line = endpoint.line
        return found

    def models(self) -> dict[str, str]:
        """Every name some endpoint is known to answer to, with its base model."""
        return {name: base for e in self.endpoints for name, base in (e.serves or {}).items()}

    def names(self) -> dict[str, str]:
        """What a client may ask for: the models, and the names that a rewrite turns into one (its own base)."""
        return {**{name: name for name in self.policies.names()}, **self.models()}
