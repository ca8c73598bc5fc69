"""The endpoints we may use, and the ledger of what we sent to them.

Must stay true: an endpoint keeps its identity across relists, so a lease taken before a relist is released on the
same object; `inflight_*` of an endpoint is the sum of its open leases, whatever happens to the pool meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from epp.domain import Endpoint


@dataclass(slots=True, frozen=True)
class Listed:
    """An endpoint as discovery knows it."""

    name: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)


class Lease:
    """One request counted against one endpoint until it is closed; closing twice is harmless."""

    __slots__ = ("endpoint", "requests", "tokens")

    def __init__(self, endpoint: Endpoint, tokens: int) -> None:
        self.endpoint = endpoint
        self.requests = 1
        self.tokens = tokens
        endpoint.inflight_requests += 1
        endpoint.inflight_tokens += tokens

    def prefilled(self) -> None:
        """The first answer byte is here: the prompt no longer waits to be computed."""
        self.endpoint.inflight_tokens -= self.tokens
        self.tokens = 0

    def close(self) -> None:
        """Give back whatever this lease still holds."""
        self.prefilled()
        self.endpoint.inflight_requests -= self.requests
        self.requests = 0
        assert self.endpoint.inflight_requests >= 0
        assert self.endpoint.inflight_tokens >= 0

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pool:
    """The current endpoints as a shared tuple (read it after every wait), and the leases on them."""

    def __init__(self, name: str = "default") -> None:
        self.name = name
        self.endpoints: tuple[Endpoint, ...] = ()

    def relist(self, listed: Iterable[Listed]) -> None:
        """Replace the list; an endpoint with a known name and address stays the same object."""
        known = {(e.name, e.address): e for e in self.endpoints}
        endpoints = []
        for item in listed:
            endpoint = known.get((item.name, item.address)) or Endpoint(item.name, item.address)
            endpoint.labels = item.labels
            endpoints.append(endpoint)
        assert len({(e.name, e.address) for e in endpoints}) == len(endpoints), "an endpoint is listed twice"
        self.endpoints = tuple(endpoints)

    def lease(self, endpoint: Endpoint, tokens: int) -> Lease:
        """Charge one request and its prompt tokens now, not at the next scrape."""
        return Lease(endpoint, tokens)

    def models(self) -> dict[str, str]:
        """Every name some endpoint is known to answer to, with its base model."""
        return {name: base for e in self.endpoints for name, base in (e.models or {}).items()}
