"""Any workload with tenants: who sends what is drawn, by shares; where it has tenants of its own, they stay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random

from benchmarks.workloads.around import Around
from benchmarks.workloads.workload import Arrival

Shares = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Tenanted(Around):
    """`inner` with tenants and their shares of the requests."""

    tenants: Shares

    @property
    def identity(self) -> str:
        return sha256(f"{self.inner.identity} {self.tenants!r}".encode()).hexdigest()

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
