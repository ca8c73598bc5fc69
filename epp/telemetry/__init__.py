"""What counts as what. Labels come from closed or capped sets; the names are in `families.py` and `pools.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from time import monotonic, perf_counter

from prometheus_client import CollectorRegistry

from epp.datastore.fleet import Fleet
from epp.datastore.receipts import Fate
from epp.domain import Reason, Receipt
from epp.flow.gate import Gate
from epp.scheduling.framework import Point, Scheduler, Scorer
from epp.scheduling.pick import Pick
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.prefix import BYTES_PER_TOKEN
from epp.seldom import Seldom
from epp.telemetry.demand import Demand
from epp.telemetry.families import PACE_BOUNDS_S, AnswerFamilies, PickFamilies, ProcessFamilies, RequestFamilies
from epp.telemetry.flow import FlowFamilies, GateMeter
from epp.telemetry.inflight import InflightFamilies
from epp.telemetry.labels import Labelling, Labels
from epp.telemetry.pools import pool_gauges
from epp.telemetry.series import Counter, Distribution, Gauge, Histogram, Number, Rows
from epp.telemetry.vsr import SemanticFamilies
from epp.telemetry.windowed import WindowedFamilies

ERROR_CODES = {  # HTTP status of a refusal -> the Go picker's code for it
    400: "BadRequest",
    404: "NotFound",
    408: "BadRequest",
    412: "PreconditionFailed",
    413: "BadRequest",
    415: "BadRequest",
    429: "ResourceExhausted",
    500: "Internal",
    503: "ServiceUnavailable",
}
MODEL_SERVER_ERROR = "ModelServerError"
UNPLACED = frozenset(
    {Reason.NO_ENDPOINTS.code, Reason.SATURATED.code}
)  # there was a choice to make, and nobody to take
PHASES = ("gather", "choose", "wait", "pick", "first_answer", "answer")
RESULTS = ("success", "failure")  # of a reload
_READS = {  # path -> what the Go picker calls the plugins that read it
    "/metrics": ("metrics-data-source", "core-metrics-extractor"),
    "/v1/models": ("models-data-source", "models-extractor"),
}
_PREFIX = (ApproxPrefixCacheProducer.type, ApproxPrefixCacheProducer.type)  # name and type


@dataclass(frozen=True, slots=True)
class Build:
    """What `llm_d_epp_info` says of this process."""

    commit: str = ""
    ref: str = ""


class Telemetry:
    """The metrics of one process.

    `conditions` are by name what an operator must know of: true while it is so. Read when it is scraped, too: by file
    how often it was `reloads`, well and in vain; `texts` of the classifier and `spans` of traces by their fate.
    """

    def __init__(
        self,
        fleet: Fleet,
        build: Build | None = None,
        now: Callable[[], float] = monotonic,
        slo_ttft_s: float = 2.0,
    ) -> None:
        self.conditions: dict[str, Callable[[], object]] = {}
        self.reloads: dict[str, Callable[[], tuple[int, int]]] = {}
        self.texts: Callable[[], Mapping[str, int]] = dict
        self.spans: Callable[[], Mapping[str, int]] = dict
        self._fleet = fleet
        self._labelling = Labelling(fleet.all)
        self._profiles: list[Scheduler] = []
        self._surprises = Seldom()
        self._request = RequestFamilies()
        self._pick = PickFamilies(self._prefix_blocks, self._scorers)
        self._answer = AnswerFamilies()
        self._process = ProcessFamilies(self._conditions, self._reloads, self._spans)
        self._semantic = SemanticFamilies(self._answer, self._texts)
        self._demand = Demand(fleet, now, slo_ttft_s)
        self._inflight = InflightFamilies(self._labelling.of)
        self._windowed = WindowedFamilies(self._request, self._answer, now)
        self._phase = {phase: self._process.phases.child(phase).observe for phase in PHASES}
        # Series of a request's labels, found at once: each look for one costs half of what it counts.
        self._sent: dict[Labels, tuple[Number, Distribution, Number]] = {}
        self._ttft: dict[tuple[Labels, bool], Distribution] = {}
        self._tried: dict[tuple[str, str, str], Number] = {}
        self._decided_s = self._request.processing.child().observe
        self._picked_s = self._pick.seconds.child().observe
        self._responded_s = self._answer.processing.child().observe
        self._stream_s = self._process.stream_seconds.child().observe
        self.streams = self._process.open.child()
        build = build or Build(ref=package_version())
        self._process.info.child(build.commit, build.ref).value = 1.0
        self._flow = FlowFamilies(self._labelling, self._demand)
        groups = (self._request, self._pick, self._answer, self._process)
        self.families: list[Counter | Gauge | Histogram] = [f for group in groups for f in vars(group).values()]
        self.families += [*self._flow.families(), *self._semantic.families(), *self._demand.families()]
        self.families += [*self._inflight.families(), *self._windowed.families(), *pool_gauges(fleet, now)]
        self.registry = CollectorRegistry()
        for family in self.families:
            self.registry.register(family)

    def measure(self, profile: Scheduler) -> None:
        """Time this profile's plugins, and show how large its prefix index is."""
        profile.meter = _PluginMeter(self._pick.plugins)
        self._profiles.append(profile)

    def meter(self, pool: str) -> GateMeter:
        """What counts for the gate of a pool."""
        return GateMeter(self._flow, pool)

    def watch(self, pool: str, gate: Gate) -> None:
        """Show this gate's queues under the pool's name."""
        self._flow.watch(pool, gate)

    def gathered(self, seconds: float) -> None:
        """A request is whole, this long after its headers."""
        self._phase["gather"](seconds)

    def decided(self, receipt: Receipt) -> None:
        """A request got its model and endpoint, or its refusal."""
        labels = self._labelling.of(receipt)
        if receipt.decided_s is not None:
            self._decided_s(receipt.decided_s)
            if receipt.chosen_s is not None:
                waited_s = receipt.waited_s or 0.0
                picked_s = receipt.decided_s - receipt.chosen_s - waited_s
                self._picked_s(picked_s)
                self._phase["choose"](receipt.chosen_s)
                self._phase["wait"](waited_s)
                self._phase["pick"](picked_s)
        if receipt.picked is not None:
            routed, sizes, running = self._sent.get(labels) or self._new_sent(labels)
            routed.value += 1.0
            running.value += 1.0
            sizes.observe(receipt.body_bytes)
            self._inflight.sent(receipt)
            self._picked(receipt, receipt.picked, labels[1])
            self._demand.sent(labels[1], receipt)
        elif receipt.outcome in UNPLACED:
            self._pick.attempts.child("failure", labels[1], "", "", "").inc()
        choice = receipt.choice
        if choice is not None and choice.reason and receipt.first is None:
            self._process.classified.child(choice.classification, choice.decision or "").inc()
            self._semantic.classified(choice)
            if choice.decision is not None:
                self._process.decisions.child(choice.decision).inc()
        for signal in choice.signals.get("matched", ()) if choice is not None else ():
            self._process.signals.child(*signal.split(":", 1)).inc()

    def chose(self, receipt: Receipt) -> None:
        """The candidates were looked at: who could not answer, who was left for another."""
        if receipt.spill is not None:
            spill, name = receipt.spill, self._labelling.model
            to = "" if spill.to is None else name(spill.to, routed=True)
            self._process.spilled.child(name(spill.origin, routed=True), to, spill.reason.value).inc()
        for model, why in receipt.excluded.items():
            self._process.excluded.child(self._labelling.model(model, routed=False), why.value).inc()

    def receipt(self, fate: Fate) -> None:
        """What became of a receipt."""
        self._process.receipts.at((fate,)).value += 1.0

    def foretold(self, receipt: Receipt, seconds: float) -> None:
        """The first token of a stream came, so many seconds after the decision."""
        if receipt.predicted_ttft_s:
            model = self._labelling.of(receipt)[1]
            self._process.ttft_ratio.child(model).observe(seconds / receipt.predicted_ttft_s)
            self._process.ttft_predicted.child(model).observe(receipt.predicted_ttft_s)

    def looked(self, signals: Collection[tuple[str, str]], seconds: float) -> None:
        """The semantic stage looked for these signals, by type and name, together."""
        self._semantic.looked(signals, seconds)

    def pace(self, receipt: Receipt) -> Callable[[float], None]:
        """Where the seconds from piece to piece of a streamed answer go."""
        return self._answer.itl.child(*self._labelling.of(receipt)).observe

    def paced(self, receipt: Receipt, counts: Sequence[int], total_s: float) -> None:
        """The same for all pieces of an answer together: how many in each bucket of `PACE_BOUNDS_S`, and their sum."""
        together = Distribution(PACE_BOUNDS_S)
        together.counts, together.sum = [*counts], total_s
        self._answer.itl.child(*self._labelling.of(receipt)).plus(together)

    def ended(self, receipt: Receipt) -> None:
        """A request's stream is over, or it was answered by ourselves."""
        self._process.outcomes.at((receipt.outcome,)).value += 1.0
        labels = self._labelling.of(receipt)
        status = receipt.status or 0
        if status >= 400:
            ours = not receipt.picked or receipt.outcome == Reason.EVICTED.code
            code = ERROR_CODES.get(status, "Unknown") if ours else MODEL_SERVER_ERROR
            self._request.errors.child(*labels, code).inc()
        if receipt.outcome == Reason.EVICTED.code:
            self._flow.sheds.child(receipt.outcome, *labels[2:]).inc()
        if receipt.picked is not None:
            self._request.running.at(labels).value -= 1.0
            self._inflight.ended(receipt)
            self._answered(receipt, labels)

    def responded(self, seconds: float) -> None:
        """An answer has passed, and took this much of our own time."""
        self._responded_s(seconds)

    def stream_ended(self, code: str, seconds: float) -> None:
        """An ext_proc stream is over, with this gRPC code in Go's spelling."""
        self._process.streams.at((code,)).value += 1.0
        self._stream_s(seconds)

    def connected(self) -> None:
        """A gateway opened a connection."""
        self._process.connections.child().inc()

    def disconnected(self) -> None:
        """A connection is gone."""
        self._process.connections.child().dec()

    def breached(self, bound: str) -> None:
        """A peer went beyond this bound (a name of `Http2Limits`), and its connection was ended."""
        self._process.breaches.child(bound).inc()

    def restarted(self, reason: str) -> None:
        """A worker process is started again: it `ended`, was `silent` and ended by us, or not `launched`."""
        self._process.restarts.child(reason).inc()

    def rewritten(self, rewrite: str, model: str | None, target: str) -> None:
        """An InferenceModelRewrite (`namespace/name`) sent a request for `model` to `target`."""
        self._request.rewrites.child(rewrite, self._labelling.model(model, routed=True), target).inc()

    def read_failed(self, path: str, answered: bool) -> None:
        """A read of an endpoint's path got no answer, or one that could not be understood."""
        source, extractor = _READS.get(path, (path, path))
        if answered:
            self._process.unread.child(source, extractor).inc()
        else:
            self._process.unpolled.child(source).inc()

    def ejected(self, reason: str) -> None:
        """An endpoint is left out for a while."""
        self._pick.ejections.child(reason).inc()

    def leads(self, lease: str, leading: bool) -> None:
        """This replica holds the Lease of that name, or waits for it."""
        self._process.leader.child(lease).value = float(leading)

    def surprise(self, error: BaseException) -> bool:
        """A defect of ours; the exception's type is the label, its text is not used.

        Whether it is one to log: of a kind and place the first, the tenth, the hundredth, and so on. One that every
        request meets would else write a line for each.
        """
        self._process.surprises.child(type(error).__name__).inc()
        return self._surprises.worth_telling(error)

    def parts(self) -> Iterator[bytes]:
        """The exposition, family by family: let others have a turn in between."""
        listed = {"", *(e.name.rpartition("/")[2] for e in self._fleet.all.endpoints)}
        self._pick.attempts.forget(lambda key: key[2] not in listed)
        self._tried.clear()
        for family in self.families:
            yield "".join(family.render()).encode()

    def text(self) -> bytes:
        """The exposition for a scrape."""
        return b"".join(self.parts())

    def _picked(self, receipt: Receipt, address: str, target: str) -> None:
        pick = receipt.pick if isinstance(receipt.pick, Pick) else None
        endpoint = pick.endpoint if pick is not None else self._fleet.all.at(address)
        about = endpoint.name if endpoint else "", address, target
        tried = self._tried.get(about)
        if tried is None:
            namespace, _, name = about[0].rpartition("/")
            port = address.rpartition(":")[2]
            tried = self._tried[about] = self._pick.attempts.child("success", target, name, namespace, port)
        tried.value += 1.0
        if receipt.hashed_tokens:
            self._pick.hit_ratio.at(_PREFIX).observe(receipt.cached_tokens / receipt.hashed_tokens)
            self._pick.hit_bytes.at(_PREFIX).observe(receipt.cached_tokens * BYTES_PER_TOKEN)

    def _new_sent(self, labels: Labels) -> tuple[Number, Distribution, Number]:
        request = self._request
        found = self._sent[labels] = request.routed.at(labels), request.bytes.at(labels), request.running.at(labels)
        return found

    def _new_ttft(self, labels: Labels, stream: bool) -> Distribution:
        found = self._ttft[labels, stream] = self._answer.ttft.child(*labels, str(stream).lower())
        return found

    def _answered(self, receipt: Receipt, labels: Labels) -> None:
        first, ended = receipt.first_answer_s, receipt.ended_s
        if receipt.answer_bytes is not None:
            self._answer.bytes.at(labels).observe(receipt.answer_bytes)
        if first is not None:
            (self._ttft.get((labels, receipt.stream)) or self._new_ttft(labels, receipt.stream)).observe(first)
        if ended is not None:
            self._answer.seconds.at(labels).observe(ended)
        if first is not None and ended is not None and receipt.decided_s is not None:
            self._phase["first_answer"](first - receipt.decided_s)
            self._phase["answer"](ended - first)
        if receipt.usage is not None:
            self._answer.input.at(labels).observe(receipt.usage.prompt)
            self._answer.output.at(labels).observe(receipt.usage.completion)
            self._answer.cached.at(labels).observe(receipt.usage.cached)
            self._paces(labels, receipt, receipt.usage.completion)
            if receipt.choice is not None and receipt.choice.category is not None:
                self._semantic.turn(labels[1], receipt.choice.category, receipt.usage)

    def _paces(self, labels: Labels, receipt: Receipt, tokens: int) -> None:
        """Seconds a token, as the client had to wait for them."""
        if receipt.ended_s is None or tokens == 0:
            return
        self._answer.ntpot.at(labels).observe(receipt.ended_s / tokens)
        if receipt.stream and receipt.first_answer_s is not None and tokens > 1:
            self._answer.tpot.at(labels).observe((receipt.ended_s - receipt.first_answer_s) / (tokens - 1))

    def _prefix_blocks(self) -> Rows:
        producers = [producer for profile in self._profiles for producer in profile.producers]
        blocks = [len(p.index) for p in producers if isinstance(p, ApproxPrefixCacheProducer)]
        return [(_PREFIX, float(sum(blocks)))] if blocks else []

    def _scorers(self) -> Rows:
        used = {
            s.type: float(s.type not in profile.unused)
            for profile in self._profiles
            for s in profile.plugins
            if isinstance(s, Scorer)
        }
        return [((name,), value) for name, value in used.items()]

    def _reloads(self) -> Rows:
        for file, counts in self.reloads.items():
            yield from (((file, result), float(count)) for result, count in zip(RESULTS, counts(), strict=True))

    def _texts(self) -> Rows:
        return (((fate,), float(count)) for fate, count in self.texts().items())

    def _spans(self) -> Rows:
        return (((fate,), float(count)) for fate, count in self.spans().items())

    def _conditions(self) -> Rows:
        return [((name,), float(bool(ask()))) for name, ask in self.conditions.items()]


class _PluginMeter:
    """Writes down how long each plugin takes."""

    clock = staticmethod(perf_counter)

    def __init__(self, family: Histogram) -> None:
        self._family = family
        self._bound: dict[tuple[Point, str], Distribution] = {}

    def took(self, point: Point, plugin_type: str, seconds: float) -> None:
        """One call of one plugin."""
        bound = self._bound.get((point, plugin_type))
        if bound is None:
            bound = self._bound[point, plugin_type] = self._family.child(point, plugin_type, plugin_type)
        bound.observe(seconds)


@cache
def package_version() -> str:
    """The version of this package, as installed."""
    try:
        return version("onehop")
    except PackageNotFoundError:
        return "unknown"
