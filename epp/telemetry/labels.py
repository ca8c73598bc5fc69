"""The labels of a request, from sets that clients cannot make grow without end."""

from __future__ import annotations

from epp.datastore.pool import Pool
from epp.domain import Receipt

Labels = tuple[str, str, str, str]  # as in families.REQUEST

OTHER = "other"
NAMES_MAX = 1000  # of models and of tenants; the Go picker's cap
NAME_LENGTH_MAX = 253  # of a Kubernetes name; longer ones are nobody's
SETS_MAX = 2000  # combinations of a request's labels; beyond them tenants are not told apart any more
ALIASES = frozenset({"auto", "MoM", "vllm-sr/auto"})


class Labelling:
    """Remembers which names are labels."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._tenants: set[str] = set()
        self._models: set[str] = set()
        self._served: set[str] = set()
        self._sets: set[Labels] = set()
        self._known: dict[tuple[str | None, str | None, str, int], Labels] = {}

    def of(self, receipt: Receipt) -> Labels:
        """The request's labels; what they are the first time, they stay."""
        if receipt.labels is None:
            routed = receipt.picked is not None
            receipt.labels = self.named(receipt.asked_model, receipt.model, receipt.tenant, receipt.priority, routed)
        return receipt.labels

    def named(self, asked: str | None, target: str | None, tenant: str, priority: int, routed: bool) -> Labels:
        """The labels of a request that asked for a model, and goes to one."""
        about = asked, target, tenant, priority
        known = self._known.get(about)
        if known is not None:
            return known
        models = self.model(asked, routed), self.model(target, routed)
        labels = self._fit((*models, _capped(tenant, self._tenants), str(priority)))
        if labels == (asked, target, tenant, str(priority)):  # all by their own names, and so they stay
            self._known[about] = labels
        return labels

    def model(self, name: str | None, routed: bool) -> str:
        """Names that are served are labels; of those that clients make up, the first that were routed anywhere."""
        if name is None:
            return ""
        if name in self._served or name in ALIASES or name in self._models:
            return name
        if any(name in (e.serves or ()) for e in self._pool.endpoints):
            self._served.add(name)
            return name
        return _capped(name, self._models) if routed else OTHER

    def _fit(self, labels: Labels) -> Labels:
        """The labels while there is room for more combinations, else with fewer names."""
        model, target, _, priority = labels
        for fewer, room in (labels, SETS_MAX), ((model, target, OTHER, priority), 2 * SETS_MAX):
            if fewer in self._sets or len(self._sets) < room:
                self._sets.add(fewer)
                return fewer
        return OTHER, OTHER, OTHER, priority


def _capped(name: str, known: set[str]) -> str:
    """The name while there is room for names, else the one that all others share."""
    if name not in known:
        if len(known) >= NAMES_MAX or len(name) > NAME_LENGTH_MAX:
            return OTHER
        known.add(name)
    return name
