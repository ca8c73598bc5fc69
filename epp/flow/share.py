"""Whose turn it is among the tenants of one priority.

Must stay true: while a tenant has requests waiting its rank never falls, so a rank once seen is a lower bound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass

from epp.flow.heap import Heap
from epp.flow.settings import ShareName

TENANTS_MAX = 4096  # remembered in a band; clients may name as many as they like
OUTPUT_WEIGHT = 2.0  # a generated token costs about as much as two of a prompt (VTC)
HALF_LIFE_S = 60.0  # of what an absent tenant had more than others


class Share(ABC):
    """Ranks tenants; the least is next."""

    def tenant(self, name: str) -> str:
        """Under which name a tenant's requests wait."""
        return name

    @abstractmethod
    def rank(self, tenant: str) -> float:
        """Whose turn it is: the least first."""

    @abstractmethod
    def waits(self, tenant: str, now: float) -> None:
        """The tenant has something waiting, and had nothing before."""

    @abstractmethod
    def left(self, tenant: str, now: float) -> None:
        """The tenant, which had, has nothing waiting any more."""

    @abstractmethod
    def served(self, tenant: str, tokens: float, now: float) -> None:
        """The tenant got something, waiting or not."""


@dataclass(slots=True)
class _Account:
    tokens: float
    since: float


class TokenShare(Share):
    """The virtual token counter (VTC, OSDI'24): the tenant that got the fewest tokens is next.

    One that had nothing waiting is lifted to the least of those that have, so that nobody saves up credit; and what it
    had more than them fades, so that nobody pays for ever for a time when nobody else was there.
    """

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._floor = 0.0  # of the tenant last seen to wait, for when none does
        self._waiting: Heap[str] = Heap()

    def rank(self, tenant: str) -> float:
        account = self._accounts.get(tenant)
        return self._least() if account is None else account.tokens

    def waits(self, tenant: str, now: float) -> None:
        least = self._least()
        account = self._account(tenant, now)
        more = max(0.0, account.tokens - least) * 0.5 ** (max(0.0, now - account.since) / HALF_LIFE_S)
        account.tokens = least + more
        self._waiting.push(tenant, account.tokens)

    def left(self, tenant: str, now: float) -> None:
        account = self._account(tenant, now)
        account.since = now
        self._waiting.remove(tenant)
        self._floor = max(self._floor, account.tokens)

    def served(self, tenant: str, tokens: float, now: float) -> None:
        account = self._account(tenant, now)
        account.tokens += tokens
        account.since = now
        if tenant in self._waiting:
            self._waiting.push(tenant, account.tokens)

    def _least(self) -> float:
        return self._waiting.first_rank() if self._waiting else self._floor

    def _account(self, tenant: str, now: float) -> _Account:
        account = self._accounts.get(tenant)
        if account is None:
            self._forget()
            account = self._accounts[tenant] = _Account(self._least(), now)
        self._accounts.move_to_end(tenant)
        return account

    def _forget(self) -> None:
        """The tenant that nothing was heard of for longest, and that waits for nothing, gives way to one more."""
        if len(self._accounts) < TENANTS_MAX:
            return
        idle = next((name for name in self._accounts if name not in self._waiting), None)
        if idle is not None:
            del self._accounts[idle]


class RoundRobinShare(Share):
    """One request of each tenant in turn."""

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}
        self._turn = 0

    def rank(self, tenant: str) -> float:
        return self._turns.get(tenant, self._turn)

    def waits(self, tenant: str, now: float) -> None:
        self._next(tenant)

    def left(self, tenant: str, now: float) -> None:
        self._turns.pop(tenant, None)

    def served(self, tenant: str, tokens: float, now: float) -> None:
        if tenant in self._turns:
            self._next(tenant)

    def _next(self, tenant: str) -> None:
        self._turn += 1
        self._turns[tenant] = self._turn


class GlobalStrictShare(Share):
    """No tenants: one queue in one order."""

    def tenant(self, name: str) -> str:
        return ""

    def rank(self, tenant: str) -> float:
        return 0.0

    def waits(self, tenant: str, now: float) -> None:
        """Nobody is told apart."""

    def left(self, tenant: str, now: float) -> None:
        """Nobody is told apart."""

    def served(self, tenant: str, tokens: float, now: float) -> None:
        """Nobody is told apart."""


SHARES: dict[ShareName, type[Share]] = {
    "tokens": TokenShare,
    "round-robin": RoundRobinShare,
    "global-strict": GlobalStrictShare,
}
