"""Every pool of this process, and their union; a pod that several pools list is one endpoint with one ledger.

Must stay true: after `unite`, `all.endpoints` holds every endpoint of every pool once, in the pools' order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from weakref import WeakValueDictionary

from epp.datastore.policies import Policies
from epp.datastore.pool import Known, Listed, Pool


class Fleet:
    """Pools by key: `namespace/name`, or a bare name where discovery knows no namespaces.

    A pool's own name is its key, without the namespace where that is `home`. `on_change` is called after the endpoints
    of any pool have changed, `on_room` when an endpoint of any may have become less busy.
    """

    def __init__(self, name: str = "all", home: str = "", on_change: Callable[[], None] = lambda: None) -> None:
        self._known: Known = WeakValueDictionary()
        self.home = home
        self.pools: dict[str, Pool] = {}
        self.on_change = on_change
        self.on_room: Callable[[], None] = lambda: None
        self.all = Pool(name, self._known, self._room)
        self._bound: set[str] = set()

    def pool(self, key: str) -> Pool:
        """The pool of that key, made empty when it is first spoken of."""
        if key not in self.pools:
            self.pools[key] = Pool(key.removeprefix(f"{self.home}/"), self._known, self._room)
        return self.pools[key]

    def _room(self) -> None:
        self.on_room()

    def bind(self, key: str) -> Pool:
        """The pool of a port of its own, which is there before and after the pool is."""
        self._bound.add(key)
        return self.pool(key)

    def relist(self, key: str, listed: Iterable[Listed]) -> None:
        """Replace the endpoints of one pool."""
        self.pool(key).relist(listed)
        self.unite()

    def empty(self, key: str) -> None:
        """The pool is gone, and with it the endpoints that no other pool lists; only what a port is bound to stays."""
        self.pool(key).policies = Policies()
        self.relist(key, ())
        if key not in self._bound:
            del self.pools[key]

    def unite(self) -> None:
        """Bring the union up to date."""
        before = self.all.endpoints
        self.all.endpoints = tuple({id(e): e for pool in self.pools.values() for e in pool.endpoints}.values())
        if before != self.all.endpoints:
            self.on_change()
