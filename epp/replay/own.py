"""Our own gate decided again: who goes on, who waits, who is refused, by what the receipts of the moment tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from epp.datastore.pool import Listed, Pool
from epp.domain import Choice, Cost, Endpoint, Reason, Refused, Request
from epp.flow.control import FULL
from epp.flow.own import NOTHING, OwnRule
from epp.flow.settings import FlowSettings
from epp.flow.ticket import Key, Ticket
from epp.replay.recorded import Recorded
from epp.replay.scene import Scene
from epp.scheduling.reckoner import Reckoner

SLACK_S = 0.05  # between the end of a wait and the moment that its receipt tells
ASSUMED = (
    "at the gate: who waits waits as long as it did; for how long one waits that did not wait then is not told. The"
    " pace of decoding is in receipts of those alone that found no room, and the gateway's own timeouts are in none",
    "spills: conversations that were sent away earlier stay so, and each that would leave counts in its model's share",
)


def fate(
    settings: FlowSettings,
    reckoner: Reckoner,
    scene: Scene,
    choice: Choice,
    *,
    then: Recorded,
    waiting: Sequence[Recorded],
) -> str:
    """`goes` or `waits`. Raises Refused."""
    endpoints: Sequence[Endpoint] = scene.pool.endpoints
    now = scene.now
    rule, request = OwnRule(settings, reckoner), then.request()
    models = frozenset(candidate.model for candidate in choice.candidates)
    went = then.fate == "goes"  # so nobody stood before it
    ahead = [r for r in waiting if not went and r.priority >= then.priority and _accepts(r, models)]
    contested, before_s = bool(ahead), sum(reckoner.wants(r.request(), endpoints).own_s for r in ahead)
    seen = _Seen.of(then)
    if seen is not None:  # as it was then, to the number
        endpoints, contested, before_s = seen.endpoints, seen.contested, seen.before_s
        rule = OwnRule(settings, seen)
    ticket = Ticket(request, Key(models), now, slo_s=then.slo_s)
    rule.screen(ticket, endpoints, now)
    room = rule.room(ticket, endpoints, now)
    if not contested and (room is None or room):
        return "goes"
    band = settings.of(then.priority).requests_max
    if len(waiting) >= settings.requests_max or 0 < band <= sum(r.priority == then.priority for r in waiting):
        raise Refused(Reason.QUEUE_FULL, FULL)
    try:
        until = rule.until(ticket, endpoints, before_s, now)
    except Refused:
        if not contested or (room is not None and not room):
            raise
        until = ticket.deadline - ticket.own_s
    if then.waited_s and now + then.waited_s > until - (SLACK_S if then.told.get("outcome") == _TIMEOUT else 0.0):
        raise Refused(Reason.QUEUE_TIMEOUT, "waited until its SLO could not be kept")
    return "waits"


@dataclass(slots=True)
class _Seen:
    """A `Reckoning`: what the gate itself saw, as the receipt of one that found no room tells. And its `Wants`."""

    endpoints: Sequence[Endpoint]
    own_s: float
    alone_s: float
    before_s: float
    contested: bool
    met: Mapping[Endpoint, tuple[float, float, float]]
    tokens: float = 0.0
    extra: Mapping[Endpoint, float] | None = None
    extra_elsewhere: float = 0.0
    cached: Mapping[Endpoint, int] = field(default_factory=dict)

    @classmethod
    def of(cls, then: Recorded) -> _Seen | None:
        told = then.told.get("gate")
        if told is None:
            return None
        pool = Pool(then.pool)
        pool.relist(Listed(row["address"], row["address"]) for row in told["endpoints"])
        met = {}
        for endpoint, row in zip(pool.endpoints, told["endpoints"], strict=True):
            endpoint.inflight_requests = row["inflight_requests"]
            endpoint.inflight_critical = row["inflight_critical"]
            met[endpoint] = (row["wait_s"], row["full"], row["pace_s"])
        own_s, alone_s, before_s = (float(told[name]) for name in ("own_s", "alone_s", "before_s"))
        return cls(pool.endpoints, own_s, alone_s, before_s, bool(told["contested"]), met)

    def wants(self, request: Request, endpoints: Sequence[Endpoint]) -> _Seen:
        return self

    def calm(self, endpoints: Sequence[Endpoint], tokens: float, now: float, most: tuple[float, float, float]) -> bool:
        return False  # in doubt: it found no room

    def meets(
        self, endpoints: Sequence[Endpoint], tokens: float, now: float, cached: Mapping[Endpoint, int] = NOTHING
    ) -> list[tuple[float, float, float]]:
        return [self.met[endpoint] for endpoint in endpoints]

    def goes(self, request: Request, endpoints: Sequence[Endpoint], now: float) -> tuple[Endpoint, Cost]:
        return endpoints[0], Cost()  # nobody is let go from the queue here


_TIMEOUT = Reason.QUEUE_TIMEOUT.code


def _accepts(recorded: Recorded, models: frozenset[str | None]) -> bool:
    own = recorded.choice()
    return own is not None and any(candidate.model in models for candidate in own.candidates)
