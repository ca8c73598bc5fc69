"""The endpoints we may use, and the ledger of what we sent to them.

Must stay true: an endpoint keeps its identity across relists, so a lease taken before a relist is released on the
same object; `inflight_*` of an endpoint is the sum of the open charges on it, whatever happens to the pool meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from epp.datastore.policies import Policies
from epp.domain import Endpoint

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

    __slots__ = ("endpoint", "holders", "requests", "tokens")

    def __init__(self, endpoint: Endpoint, tokens: int, requests: int) -> None:
        self.endpoint = endpoint
        self.holders = 0
        self.requests = 0
        self.tokens = 0
        self.change(requests, tokens)

    def change(self, requests: int, tokens: int) -> None:
        self.requests += requests
        self.tokens += tokens
        self.endpoint.inflight_requests += requests
        self.endpoint.inflight_tokens += tokens
        assert self.endpoint.inflight_requests >= 0
        assert self.endpoint.inflight_tokens >= 0


class Lease:
    """A hold on a charge; the last hold that is closed gives it back. Closing twice is harmless."""

    __slots__ = ("_charge", "open")

    def __init__(self, charge: _Charge) -> None:
        self._charge = charge
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

    def join(self) -> Lease:
        """A hold of one's own on the same charge: one request that more than one stream shows us."""
        assert self.charged
        return Lease(self._charge)

    def prefilled(self) -> None:
        """The first answer byte is here: the prompt no longer waits to be computed."""
        if self.open:
            self._charge.change(0, -self._charge.tokens)

    def move(self, endpoint: Endpoint) -> None:
        """Another endpoint turned out to serve the request: what is still held is held there."""
        if not self.open:
            return
        charge = self._charge
        requests, tokens = charge.requests, charge.tokens
        charge.change(-requests, -tokens)
        charge.endpoint = endpoint
        charge.change(requests, tokens)

    def close(self) -> None:
        """Let go."""
        if not self.open:
            return
        self.open = False
        charge = self._charge
        charge.holders -= 1
        if charge.holders == 0:
            charge.change(-charge.requests, -charge.tokens)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pool:
    """The current endpoints as a shared tuple (read it after every wait), and the leases on them.

    `known` is shared by pools that may list the same endpoints. It forgets an endpoint when nobody holds it any more,
    so one that leaves and comes back while requests are open on it is the same object with the same ledger.
    `policies` are the objectives and model rewrites that apply to the pool.
    """

    def __init__(self, name: str = "default", known: Known | None = None) -> None:
        self.name = name
        self.endpoints: tuple[Endpoint, ...] = ()
        self.policies = Policies()
        self._known: Known = WeakValueDictionary() if known is None else known

    def relist(self, listed: Iterable[Listed]) -> None:
        """Replace the list; an endpoint with a known name (or pod) and address stays the same object."""
        endpoints = [self._endpoint(item) for item in listed]
        assert len({(e.name, e.address) for e in endpoints}) == len(endpoints), "an endpoint is listed twice"
        self.endpoints = tuple(endpoints)

    def _endpoint(self, item: Listed) -> Endpoint:
        identity = item.pod or item.name, item.address
        endpoint = self._known.get(identity)
        if endpoint is None:
            endpoint = self._known[identity] = Endpoint(item.name, item.address)
        endpoint.labels, endpoint.declared = item.labels, item.declared
        return endpoint

    def at(self, address: str) -> Endpoint | None:
        """The endpoint of that `ip:port`."""
        return next((e for e in self.endpoints if e.address == address), None)

    def lease(self, endpoint: Endpoint, tokens: int, requests: int = 1) -> Lease:
        """Charge one request and its prompt tokens now, not at the next scrape."""
        return Lease(_Charge(endpoint, tokens, requests))

    def models(self) -> dict[str, str]:
        """Every name some endpoint is known to answer to, with its base model."""
        return {name: base for e in self.endpoints for name, base in (e.serves or {}).items()}

    def names(self) -> dict[str, str]:
        """What a client may ask for: the models, and the names that a rewrite turns into one (its own base)."""
        return {**{name: name for name in self.policies.names()}, **self.models()}
