"""Any workload with tenants: who sends what is drawn, by shares; where it has tenants of its own, they stay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from benchmarks.workloads.workload import Arrival, Shape, Workload

Shares = tuple[tuple[str, float], ...]


@dataclass(slots=True, frozen=True)
class Tenanted:
    """`inner` with tenants and their shares of the requests."""

    inner: Workload
    tenants: Shares

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def identity(self) -> str:
        return sha256(f"{self.inner.identity} {self.tenants!r}".encode()).hexdigest()

    @property
    def block_tokens(self) -> int:
        return self.inner.block_tokens

    @property
    def natural_rate(self) -> float:
        return self.inner.natural_rate

    @property
    def shape(self) -> Shape:
        return self.inner.shape

    def arrivals(self, rate: float, rng: Random, limit: int | None = None) -> list[Arrival]:
        """The same requests at the same seconds."""
        draw = Random(rng.getrandbits(64))
        names, shares = [name for name, _ in self.tenants], [share for _, share in self.tenants]
        found = self.inner.arrivals(rate, rng, limit)
        for arrival in found:
            tenant = draw.choices(names, shares)[0]
            if arrival.ask.tenant is None:
                arrival.ask = replace(arrival.ask, tenant=tenant)
        return found
