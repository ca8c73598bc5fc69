"""A request at the gate: what it accepts, for how long it may wait, and what has become of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from epp.domain import Cost, Endpoint, GateView, Request


class Key(NamedTuple):
    """What a queue is kept by: the models that may answer, and the gateway's hint at endpoints, if it gave one.

    A model None is whatever an endpoint serves.
    """

    models: frozenset[str | None]
    subset: frozenset[str] | None = None

    def meets(self, other: Key) -> bool:
        """Whether an endpoint may serve both."""
        return None in self.models or None in other.models or not self.models.isdisjoint(other.models)

    def within(self, other: Key) -> bool:
        """Whether every endpoint that may serve this one may serve the other."""
        return (None in other.models or self.models <= other.models) and other.subset in (None, self.subset)


class Booking(Protocol):
    """A place in the ledger that is kept for a request until it takes its own."""

    @property
    def endpoint(self) -> Endpoint: ...

    def close(self, now: float = 0.0) -> None:
        """Give it back; twice is harmless."""


class Ledger(Protocol):
    """The part of the endpoints' pool that the gate needs."""

    def lease(self, endpoint: Endpoint, cost: Cost, requests: int = 1, now: float = 0.0) -> Booking:
        """Count one request and what it takes at the endpoint."""

    def settle(self, now: float) -> None:
        """Prefills of which nobody will tell us are over when they should be."""

    def settles_at(self) -> float | None:
        """When the next of these is over."""


class State(Enum):
    """Where a ticket is. It leaves NEW once, and each of the last three for good."""

    NEW = auto()
    WAITING = auto()
    BOOKED = auto()  # let through, and counted at an endpoint; it has not noticed yet
    THROUGH = auto()
    REFUSED = auto()
    GONE = auto()  # gave up


_WAITING = State.WAITING  # by a name of this module: until Python 3.12 a look at the class is a call


@dataclass(slots=True, eq=False)
class Ticket:
    """One request at the gate. `arrived` is when it became whole.

    `slo_s` is its own bound on the time to the first token, None where it names none; `wait_s_max` the longest wait
    that its gateway bears, None where it bears any. The rest is the gate's: predicted seconds of its own prefill and
    whatever else the rule worked out of it (`wants`), its SLO (`due_s`), by when its first token must come
    (`deadline`), what was `seen` where it found no room, bytes kept, by when it must be through (`latest` is the last
    moment that may be put off to), whether it is `held` for want of any endpoint, its place in the queues (`order` is 0
    before it ever waited) and in the ledger.
    """

    request: Request
    key: Key
    arrived: float
    slo_s: float | None = None
    wait_s_max: float | None = None
    own_s: float = 0.0
    wants: Any = None
    due_s: float = 0.0
    deadline: float = math.inf
    bytes: int = 0
    expires: float = 0.0
    latest: float = math.inf
    held: bool = False
    state: State = State.NEW
    rank: float = 0.0
    order: int = 0
    booking: Booking | None = None
    seen: GateView | None = None
    labels: tuple[str, str, str, str] | None = None  # of metrics, fixed when it is first counted
    since: float = 0.0

    @property
    def waits(self) -> bool:
        """Whether its request must wait for its turn."""
        return self.state is _WAITING


Room = Sequence[Endpoint] | None  # the endpoints that a request may go to; None: any that serves it
