"""Decisions of the last moments, by request id, path and body: the same request may reach us more than once.

Some gateways call a picker several times for one request (identically named filters, ai-gateway#2595) and some again
for each retry (agentgateway, `x-retry-attempt`). A repetition is answered as before and counted once; a retry goes
elsewhere. The body is part of the key, so a reused request id alone reuses nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from xxhash import xxh3_128

from epp.datastore.pool import Lease
from epp.domain import Candidate, Choice, Endpoint

KEPT_MAX = 4096
REMEMBERED_S = 60.0  # longer than a gateway goes on retrying

Key = bytes


@dataclass(slots=True)
class Decided:
    """A decision that may come up again."""

    at: float
    choice: Choice
    candidate: Candidate
    endpoint: Endpoint
    lease: Lease
    tried: set[Endpoint] = field(default_factory=set)


def key(request_id: str, path: str, body: bytes) -> Key:
    """A digest of what must be equal for two requests to be one: clients can make each of it long."""
    digest = xxh3_128(f"{request_id}\0{path}\0".encode())
    digest.update(body)
    return digest.digest()


class Recent:
    """A bounded memory; the oldest gives way."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._decided: OrderedDict[Key, Decided] = OrderedDict()
        self._kept_max = kept_max

    def __len__(self) -> int:
        return len(self._decided)

    def find(self, wanted: Key, now: float) -> Decided | None:
        """The decision on this very request, if it is not too old."""
        found = self._decided.get(wanted)
        return found if found is not None and now - found.at <= REMEMBERED_S else None

    def note(self, wanted: Key, decided: Decided) -> None:
        """Remember a decision."""
        self._decided[wanted] = decided
        self._decided.move_to_end(wanted)
        if len(self._decided) > self._kept_max:
            self._decided.popitem(last=False)
