"""The ports that gateways ask us on, each with the endpoints it may choose among.

The main port decides over all pools; a pool with a port of its own over its own endpoints; the semantic port only
chooses the model, for a second filter that then asks on a pool's port.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from epp.datastore.fleet import Fleet
from epp.datastore.pool import Pool
from epp.settings import Settings


@dataclass(frozen=True, slots=True)
class Scope:
    """One ext_proc port; `plaintext` overrules --secure-serving.

    A pool's own port is, where a decision key is given, the second of two filters.
    """

    port: int
    pool: Pool
    first_of_two: bool = False
    second_of_two: bool = False
    plaintext: bool = False


def scopes(settings: Settings, fleet: Fleet, namespace: str) -> Iterator[Scope]:
    """The main port first."""
    yield Scope(settings.grpc_port, fleet.all)
    for pool in settings.pool:
        if pool.port is not None:
            yield Scope(pool.port, fleet.bind(f"{pool.namespace or namespace}/{pool.name}"), second_of_two=True)
    if settings.semantic_port:
        yield Scope(settings.semantic_port, fleet.all, first_of_two=True, plaintext=True)
