"""What the gates say: who waits, for how long, who is refused, how full the endpoints are.

The names, labels and outcomes of `flow_control_*` are the Go picker's; the deprecated twins have the same labels.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from functools import partial

from epp.domain import Reason
from epp.flow.eviction import CONFIRMED
from epp.flow.gate import DISPATCHED, GONE, Gate
from epp.flow.ticket import Ticket
from epp.telemetry.demand import Demand
from epp.telemetry.labels import Labelling, Labels
from epp.telemetry.late import Late
from epp.telemetry.series import Counter, Gauge, Histogram, Rows, Twin

_WAIT_S = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
_CYCLE_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_CONFIRM_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_FLOW = ("fairness_id", "priority", "outcome", "inference_pool", "model_name", "target_model_name")
_QUEUE = ("fairness_id", "priority", "inference_pool", "model_name", "target_model_name")
_BAND = ("priority", "inference_pool")
_POOL = ("inference_pool",)
OUTCOMES = {  # ours -> the Go picker's
    DISPATCHED: "Dispatched",
    GONE: "EvictedContextCancelled",
    Reason.NO_ENDPOINTS.code: "EvictedNoEndpoints",
    Reason.QUEUE_TIMEOUT.code: "EvictedTTL",
    Reason.DISPLACED.code: "EvictedOther",
    Reason.SHUTTING_DOWN.code: "RejectedOther",
}
REJECTED = "RejectedCapacity"
_About = tuple[frozenset[str | None], str | None, str, int]  # what a request's labels are made of at the gate
_Met = tuple[_About, str, float]  # that, what became of it, seconds


class FlowFamilies:
    """Gauges are read from the gates when they are scraped."""

    def __init__(self, labelling: Labelling, demand: Demand) -> None:
        self._labelling = labelling
        self._demand = demand
        self._gates: list[tuple[str, Gate]] = []
        text = "From the arrival at the gate to what became of it."
        self.waits = _histogram("request_queue_duration_seconds", text, _WAIT_S, _FLOW)
        text = "Our own time to judge a request, or to let it wait."
        self.enqueues = _histogram("request_enqueue_duration_seconds", text, _CYCLE_S, _FLOW[:3])
        self.cycles = _histogram("dispatch_cycle_duration_seconds", "Our own time for a look at the queues.", _CYCLE_S)
        self.requests = _counter("requests", "Requests at the gate by outcome.", (_FLOW[2], *_BAND))
        self.size = _gauge("queue_size", "Requests that wait.", _QUEUE, lambda: self._queues(lambda t: 1))
        self.bytes = _gauge("queue_bytes", "Bytes of their bodies.", _QUEUE, lambda: self._queues(lambda t: t.bytes))
        text = "How full the endpoints are together; 1 is full, and more is possible."
        self.saturation = _gauge("pool_saturation", text, (*_POOL, "stage"), self._saturation)
        text = "Endpoints judged by what we have in flight there, as their own numbers are old or missing."
        self.stale = _gauge("stale_endpoints", text, ("detector",), self._stale)
        text = "What waits in a band, of what may, by requests."
        self.band_requests = _gauge("capacity_utilization_requests", text, _BAND, lambda: self._bands(by_bytes=False))
        text = "Likewise, by bytes."
        self.band_bytes = _gauge("capacity_utilization_bytes", text, _BAND, lambda: self._bands(by_bytes=True))
        text = "What waits in all bands, of what may, by requests."
        self.all_requests = _gauge(
            "global_capacity_utilization_requests", text, _POOL, lambda: self._all(by_bytes=False)
        )
        text = "Likewise, by bytes."
        self.all_bytes = _gauge("global_capacity_utilization_bytes", text, _POOL, lambda: self._all(by_bytes=True))
        text = "Requests in flight that were told to make room for others."
        self.revoked = _counter("revocations_issued", text, _BAND)
        text = "Of these, those that have ended, or did not in time."
        self.revocations = _counter("revocations", text, ("outcome", *_POOL))
        text = "From telling such a request to end until it had."
        self.confirmations = _histogram("revocation_confirmation_seconds", text, _CONFIRM_S, _POOL)
        text = "Of these, those that have not ended yet."
        self.pending = _gauge("pending_reclaim", text, _POOL, self._pending)
        text, labels = "Requests that flow control refused or cut off.", ("reason", "fairness_id", "priority")
        self.sheds = Counter("onehop_shed", text, labels)

    def watch(self, pool: str, gate: Gate) -> None:
        """Show this gate's queues under the pool's name."""
        self._gates.append((pool, gate))
        self._demand.watch(pool, gate)
        gate.control.evictions.over = partial(self._over, pool)

    def shed(self, ticket: Ticket, outcome: str) -> None:
        """A request was refused."""
        _, _, tenant, priority = self.labels(ticket)
        self.sheds.child(outcome, tenant, priority).inc()
        self._demand.asked(self._labelling.model(ticket.request.target, routed=False), ticket.own_s)

    def _over(self, pool: str, outcome: str, seconds: float) -> None:
        """One that was told to end has, or is not counted on any more."""
        self.revocations.child(outcome, pool).inc()
        if outcome == CONFIRMED:
            self.confirmations.child(pool).observe(seconds)

    def families(self) -> Iterator[Counter | Gauge | Histogram]:
        """All of them."""
        yield from (one for one in vars(self).values() if isinstance(one, (Counter, Gauge, Histogram)))

    def labels(self, ticket: Ticket) -> Labels:
        """What they are the first time, they stay."""
        if ticket.labels is None:
            request = ticket.request
            ticket.labels = self.named(ticket.key.models, request.model, request.tenant, request.priority)
        return ticket.labels

    def named(self, models: frozenset[str | None], asked: str | None, tenant: str, priority: int) -> Labels:
        """Labels of a request at the gate; the model that may answer is named where it is the only one."""
        target = next(iter(models)) if len(models) == 1 else None
        return self._labelling.named(asked, target, tenant, priority, routed=False)

    def _queues(self, value: Callable[[Ticket], int]) -> Rows:
        sums: Tally[tuple[str, ...]] = Tally()
        for pool, gate in self._gates:
            for ticket in gate.control.queues:
                model, target, tenant, priority = self.labels(ticket)
                sums[tenant, priority, pool, model, target] += value(ticket)
        return ((key, float(total)) for key, total in sums.items())

    def _saturation(self) -> Rows:
        return (((pool, ""), gate.fullness()) for pool, gate in self._gates)

    def _stale(self) -> Rows:
        sums: Tally[tuple[str, ...]] = Tally()
        for _, gate in self._gates:
            sums[(gate.control.rule.detector,)] += gate.stale()
        return ((key, float(total)) for key, total in sums.items())

    def _bands(self, *, by_bytes: bool) -> Rows:
        for pool, gate in self._gates:
            for band in gate.control.queues.bands:
                most = band.settings.bytes_max if by_bytes else band.settings.requests_max
                used = band.bytes if by_bytes else band.requests
                yield (str(band.priority), pool), used / most if most else 0.0

    def _all(self, *, by_bytes: bool) -> Rows:
        for pool, gate in self._gates:
            queues = gate.control.queues
            most = queues.settings.bytes_max if by_bytes else queues.settings.requests_max
            used = queues.bytes if by_bytes else queues.requests
            yield (pool,), used / most if most else 0.0

    def _pending(self) -> Rows:
        return (((pool,), float(gate.control.evictions.pending)) for pool, gate in self._gates)


class GateMeter:
    """Counts what one gate does, under its pool's name."""

    def __init__(self, families: FlowFamilies, pool: str) -> None:
        self._families = families
        self._pool = pool
        self._judgements = Late(self._count_judged)
        self._passes = Late(self._count_passed)

    def judged(self, ticket: Ticket, outcome: str, seconds: float) -> None:
        """A request was judged on its arrival."""
        request = ticket.request
        self._judgements.add(((ticket.key.models, request.model, request.tenant, request.priority), outcome, seconds))

    def looked(self, seconds: float) -> None:
        """The queues were looked through."""
        self._families.cycles.child().observe(seconds)

    def passed(self, ticket: Ticket, outcome: str, waited_s: float) -> None:
        """What became of a request."""
        request = ticket.request
        self._passes.add(((ticket.key.models, request.model, request.tenant, request.priority), outcome, waited_s))
        if outcome not in (DISPATCHED, GONE):
            self._families.shed(ticket, outcome)

    def settle(self) -> None:
        """Count what is only written down yet."""
        self._judgements.settle()
        self._passes.settle()

    def _count_judged(self, met: list[_Met]) -> None:
        for (about, outcome), seconds in _alike(met):
            _, _, tenant, priority = self._families.named(*about)
            self._families.enqueues.child(tenant, priority, OUTCOMES.get(outcome, outcome)).observe_all(seconds)

    def _count_passed(self, met: list[_Met]) -> None:
        families = self._families
        for (about, outcome), waits in _alike(met):
            model, target, tenant, priority = families.named(*about)
            name = OUTCOMES.get(outcome, REJECTED)
            families.requests.child(name, priority, self._pool).inc(len(waits))
            families.waits.child(tenant, priority, name, self._pool, model, target).observe_all(waits)

    def evicted(self, priority: int) -> None:
        """A request in flight was told to end."""
        self._families.revoked.child(str(priority), self._pool).inc()


def _alike(met: list[_Met]) -> Iterator[tuple[tuple[_About, str], list[float]]]:
    """The seconds of those with the same labels and outcome."""
    found: dict[tuple[_About, str], list[float]] = {}
    for about, outcome, seconds in met:
        found.setdefault((about, outcome), []).append(seconds)
    yield from found.items()


def _twins(name: str, labels: tuple[str, ...]) -> list[Twin]:
    return [Twin(f"inference_extension_flow_control_{name}", labels)]


def _histogram(name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
    return Histogram(f"llm_d_epp_flow_control_{name}", text, buckets, labels, _twins(name, labels))


def _gauge(name: str, text: str, labels: tuple[str, ...], read: Callable[[], Rows]) -> Gauge:
    return Gauge(f"llm_d_epp_flow_control_{name}", text, labels, _twins(name, labels), read)


def _counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
    return Counter(f"llm_d_epp_flow_control_{name}", text, labels, _twins(name, labels))
