"""What autoscalers go by: how full each model's endpoints are, what waits for them, and how many would do.

Worked out when it is scraped; requests cost two additions. Must stay true: requests that were refused for want of
room count as demand, or shedding would hide that there is too little; sums over several OneHops are right, but for the
requests that wait in engines, of which each OneHop tells the same.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from epp.datastore.fleet import Fleet
from epp.domain import Endpoint, Receipt
from epp.flow.control import OVERHEAD_S, PREFILL_TOKENS_PER_S
from epp.flow.gate import Gate
from epp.flow.saturation import Utilization
from epp.telemetry.labels import ALIASES, OTHER
from epp.telemetry.series import Gauge, Rows, Twin

WINDOW_S = 60.0  # over which demand is measured
LOOK_S = 1.0  # looks at it that come sooner after one another are one
DRAIN_S = 30.0  # within which what waits is to be worked off
TAIL = 3.0  # the 95th percentile of a wait, by its mean: -ln(0.05), waits in an M/M/1 queue being exponential
BUSY_MIN, BUSY_MAX = 0.3, 0.9
KV_FULL = 0.9  # the part of a KV cache that may be held
_BY_MODEL = ("inference_pool", "model")
Place = tuple[str, str]  # pool, model


@dataclass(slots=True)
class _Work:
    """What was asked of one model: predicted seconds of prefill, and requests."""

    seconds: float = 0.0
    requests: int = 0


@dataclass(slots=True)
class _Look:
    """The sums at one moment."""

    at: float
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)


def busy_max(mean_s: float, slo_s: float) -> float:
    """The part of its time that an endpoint may compute prompts of `mean_s` seconds, for 95 % to begin in `slo_s`.

    From the mean wait of an M/M/1 queue, `mean_s * busy / (1 - busy)`; within bounds, since engines batch.
    """
    wait_s = slo_s / TAIL
    return min(BUSY_MAX, max(BUSY_MIN, wait_s / (wait_s + mean_s)))


class Demand:
    """The gauges and what they count. `slo_ttft_s` is how soon first tokens are due."""

    def __init__(self, fleet: Fleet, now: Callable[[], float], slo_ttft_s: float = 2.0) -> None:
        self.slo_ttft_s = slo_ttft_s
        self._fleet = fleet
        self._now = now
        self._gates: list[tuple[str, Gate]] = []
        self._asked: dict[str, _Work] = {}
        self._looks: deque[_Look] = deque([_Look(now())])
        text = "How full the endpoints of a model are together; 1 is full, and more is possible."
        self.saturation = Gauge("onehop_model_saturation", text, _BY_MODEL, read=self._saturation)
        text, labels = "Prompt tokens that are not computed yet.", (*_BY_MODEL, "where")
        self.tokens = Gauge("onehop_queued_tokens", text, labels, read=self._tokens)
        vsr = Twin("llm_model_queue_depth_estimated", ("model",), text="Requests that wait, by model.")
        self.requests = Gauge("onehop_queued_requests", "Requests that wait.", labels, [vsr], read=self._requests)
        text = "Endpoints that would keep the SLO of the first token for what this process is asked; a fraction."
        self.wanted = Gauge("onehop_replicas_wanted", text, _BY_MODEL, read=self._wanted)

    def watch(self, pool: str, gate: Gate) -> None:
        """Count what waits at this gate."""
        self._gates.append((pool, gate))

    def sent(self, model: str, receipts: Sequence[Receipt]) -> None:
        """Requests went to endpoints."""
        self.asked(model, sum([r.work_s or _work_s(r) for r in receipts]), len(receipts))

    def asked(self, model: str, seconds: float, requests: int = 1) -> None:
        """Requests for the model, by a label that is capped, take together so many seconds, or would have."""
        work = self._asked.get(model)
        if work is None:
            work = self._asked[model] = _Work()
        work.seconds += seconds
        work.requests += requests

    def families(self) -> Iterator[Gauge]:
        """All of them."""
        yield from (one for one in vars(self).values() if isinstance(one, Gauge))

    def _places(self) -> dict[Place, list[Endpoint]]:
        """The endpoints by pool and base model; those of which nobody says what they serve are of the model ``."""
        found: dict[Place, list[Endpoint]] = {}
        for pool in self._fleet.pools.values():
            for endpoint in pool.endpoints:
                for model in {base for base in (endpoint.serves or {"": ""}).values() if base not in ALIASES}:
                    found.setdefault((pool.name, model), []).append(endpoint)
        return found

    def _waiting(self, places: dict[Place, list[Endpoint]]) -> Iterator[tuple[Place, int, float]]:
        """What waits at the gates: for which place, tokens of its prompt, predicted seconds."""
        bases = self._fleet.all.models()
        homes = {model: pool for pool, model in reversed(places)}
        for pool, gate in self._gates:
            for ticket in gate.control.queues:
                name = ticket.request.target or ticket.request.model or ""
                model = bases.get(name, name if name in self._asked else OTHER)
                yield (homes.get(model, pool), model), ticket.request.prompt_tokens, ticket.own_s

    def _saturation(self) -> Rows:
        now = self._now()
        gates, without = dict(self._gates), Utilization()
        for place, endpoints in self._places().items():
            gate = gates.get(place[0])
            yield place, without.of(endpoints, now) if gate is None else gate.control.rule.fullness(endpoints, now)

    def _tokens(self) -> Rows:
        places = self._places()
        sums: Tally[tuple[str, ...]] = Tally()
        for place, endpoints in places.items():
            sums[*place, "gate"] = 0
            sums[*place, "endpoint"] += sum(e.inflight_tokens for e in endpoints)
        for place, tokens, _ in self._waiting(places):
            sums[*place, "gate"] += tokens
        return ((key, float(total)) for key, total in sums.items())

    def _requests(self) -> Rows:
        places = self._places()
        sums: Tally[tuple[str, ...]] = Tally()
        for place, endpoints in places.items():
            sums[*place, "gate"] = 0
            sums[*place, "endpoint"] += int(sum(e.load.waiting or 0 for e in endpoints if e.load is not None))
        for place, _, _ in self._waiting(places):
            sums[*place, "gate"] += 1
        return ((key, float(total)) for key, total in sums.items())

    def _wanted(self) -> Rows:
        places = self._places()
        waiting: Tally[Place] = Tally()
        for place, _, seconds in self._waiting(places):
            waiting[place] += seconds  # type: ignore[assignment]  # a Counter of floats
        counts: Tally[str] = Tally()
        for (_, model), endpoints in places.items():
            counts[model] += len(endpoints)
        asked = self._rates()
        for place in {**places, **waiting}:
            endpoints = places.get(place, [])
            rate_s, mean_s = asked.get(place[1], (0.0, 0.0))
            share = len(endpoints) / counts[place[1]] if endpoints else 1.0  # of a model that several pools have
            busy = busy_max(mean_s, self.slo_ttft_s)
            prefill = (rate_s * share + waiting[place] / DRAIN_S) / busy
            yield place, max(prefill, _held(endpoints), 1.0 if waiting[place] and not endpoints else 0.0)

    def _rates(self) -> dict[str, tuple[float, float]]:
        """By base model, over the window: seconds of prefill asked for in a second, and by one request."""
        now, bases = self._now(), self._fleet.all.models()
        looks = self._looks
        while len(looks) > 1 and looks[1].at <= now - WINDOW_S:
            looks.popleft()
        before = looks[0]
        sums: dict[str, tuple[float, int]] = {name: (w.seconds, w.requests) for name, w in self._asked.items()}
        rates: dict[str, tuple[float, int]] = {}
        for name, (seconds, requests) in sums.items():
            seconds_then, requests_then = before.sums.get(name, (0.0, 0))
            base = bases.get(name, name)
            total, count = rates.get(base, (0.0, 0))
            rates[base] = total + seconds - seconds_then, count + requests - requests_then
        if now - looks[-1].at >= LOOK_S:
            looks.append(_Look(now, sums))
        passed_s = max(now - before.at, LOOK_S)
        return {base: (total / passed_s, total / count if count else 0.0) for base, (total, count) in rates.items()}


def _work_s(receipt: Receipt) -> float:
    """Predicted seconds of its prefill, where the profile predicts nothing."""
    return OVERHEAD_S + max(0, receipt.prompt_tokens - receipt.cached_tokens) / PREFILL_TOKENS_PER_S


def _held(endpoints: Sequence[Endpoint]) -> float:
    """How many endpoints the context of what we have in flight fills."""
    capacities = [float(e.load.block_size * e.load.num_blocks) for e in endpoints if _tells_size(e)]  # type: ignore[union-attr, operator]  # `_tells_size`
    if capacities:
        mean = sum(capacities) / len(capacities)
        return sum(e.context_tokens for e in endpoints) / (KV_FULL * mean)
    return sum(_used(e) for e in endpoints) / KV_FULL


def _tells_size(endpoint: Endpoint) -> bool:
    load = endpoint.load
    return load is not None and bool(load.block_size) and bool(load.num_blocks)


def _used(endpoint: Endpoint) -> float:
    """The part of its cache that is in use for us, where only the whole of it is known."""
    load = endpoint.load
    if load is None or load.kv_usage is None:
        return 0.0
    everybodys = (load.running or 0.0) + (load.waiting or 0.0)
    return load.kv_usage * min(1.0, endpoint.inflight_requests / everybodys if everybodys else 1.0)
