"""What counts as what. Labels come from closed or capped sets; the names are in `families.py` and `pools.py`."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from time import monotonic, perf_counter

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from epp.datastore.fleet import Fleet
from epp.datastore.receipts import FATES, Fate
from epp.domain import Receipt
from epp.flow.gate import Gate
from epp.scheduling.framework import Point, Scheduler, Scorer
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.seldom import Seldom
from epp.telemetry.demand import Demand
from epp.telemetry.families import PACE_BOUNDS_S, AnswerFamilies, PickFamilies, ProcessFamilies, RequestFamilies
from epp.telemetry.flow import FlowFamilies, GateMeter
from epp.telemetry.inflight import InflightFamilies
from epp.telemetry.labels import Labelling, Labels
from epp.telemetry.late import Late, Settles
from epp.telemetry.pools import pool_gauges
from epp.telemetry.requests import PREFIX, Decisions, Ends
from epp.telemetry.series import Counter, Distribution, Gauge, Histogram, Rows
from epp.telemetry.vsr import SemanticFamilies
from epp.telemetry.windowed import WindowedFamilies

PHASES = ("gather", "choose", "wait", "pick", "first_answer", "answer")
RESULTS = ("success", "failure")  # of a reload
_READS = {  # path -> what the Go picker calls the plugins that read it
    "/metrics": ("metrics-data-source", "core-metrics-extractor"),
    "/v1/models": ("models-data-source", "models-extractor"),
}


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
        phases = self._process.phases
        for phase in PHASES:
            phases.child(phase)
        self._fates = {fate: self._process.receipts.child(fate) for fate in FATES}
        self._meters: list[Settles] = []
        self._gathers: Late[float] = Late(phases.child("gather").observe_all)
        self._responses: Late[float] = Late(self._answer.processing.child().observe_all)
        self._streams = Late(self._count_streams)
        self._paces: dict[Labels, Late[float]] = {}
        self.streams = self._process.open.child()
        build = build or Build(ref=package_version())
        self._process.info.child(build.commit, build.ref).value = 1.0
        self._flow = FlowFamilies(self._labelling, self._demand)
        self._decisions = Decisions(
            fleet,
            self._labelling,
            request=self._request,
            pick=self._pick,
            process=self._process,
            semantic=self._semantic,
            demand=self._demand,
            inflight=self._inflight,
        )
        self._ends = Ends(
            self._labelling,
            self._decisions,
            request=self._request,
            answer=self._answer,
            process=self._process,
            semantic=self._semantic,
            inflight=self._inflight,
            flow=self._flow,
        )
        groups = (self._request, self._pick, self._answer, self._process)
        self.families: list[Counter | Gauge | Histogram] = [f for group in groups for f in vars(group).values()]
        self.families += [*self._flow.families(), *self._semantic.families(), *self._demand.families()]
        self.families += [*self._inflight.families(), *self._windowed.families(), *pool_gauges(fleet, now)]
        self.registry = CollectorRegistry()
        self.registry.register(_Settled(self.settle))
        for family in self.families:
            self.registry.register(family)

    def measure(self, profile: Scheduler) -> None:
        """Time this profile's plugins, and show how large its prefix index is."""
        profile.meter = meter = _PluginMeter(self._pick.plugins)
        self._meters.append(meter)
        self._profiles.append(profile)

    def meter(self, pool: str) -> GateMeter:
        """What counts for the gate of a pool."""
        meter = GateMeter(self._flow, pool)
        self._meters.append(meter)
        return meter

    def watch(self, pool: str, gate: Gate) -> None:
        """Show this gate's queues under the pool's name."""
        self._flow.watch(pool, gate)

    def gathered(self, seconds: float) -> None:
        """A request is whole, this long after its headers."""
        self._gathers.add(seconds)

    def decided(self, receipt: Receipt) -> None:
        """A request got its model and endpoint, or its refusal."""
        self._decisions.add(receipt)

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
        self._fates[fate].value += 1.0

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
        labels = self._labelling.of(receipt)
        paces = self._paces.get(labels)
        if paces is None:
            paces = self._paces[labels] = Late(self._answer.itl.child(*labels).observe_all)
        return paces.add

    def paced(self, receipt: Receipt, counts: Sequence[int], total_s: float) -> None:
        """The same for all pieces of an answer together: how many in each bucket of `PACE_BOUNDS_S`, and their sum."""
        together = Distribution(PACE_BOUNDS_S)
        together.counts, together.sum = [*counts], total_s
        self._answer.itl.child(*self._labelling.of(receipt)).plus(together)

    def ended(self, receipt: Receipt) -> None:
        """A request's stream is over, or it was answered by ourselves."""
        self._ends.add(receipt)

    def responded(self, seconds: float) -> None:
        """An answer has passed, and took this much of our own time."""
        self._responses.add(seconds)

    def stream_ended(self, code: str, seconds: float) -> None:
        """An ext_proc stream is over, with this gRPC code in Go's spelling."""
        self._streams.add((code, seconds))

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
        self.settle()
        listed = {"", *(e.name.rpartition("/")[2] for e in self._fleet.all.endpoints)}
        self._pick.attempts.forget(lambda key: key[2] not in listed)
        for family in self.families:
            yield "".join(family.render()).encode()

    def settle(self) -> None:
        """Count what is only written down yet; to be called before any family is read."""
        late: list[Settles] = [self._decisions, self._ends, self._gathers, self._responses, self._streams]
        for one in [*late, *self._meters, *self._paces.values()]:
            one.settle()

    def text(self) -> bytes:
        """The exposition for a scrape."""
        return b"".join(self.parts())

    def _count_streams(self, ended: list[tuple[str, float]]) -> None:
        for code, count in Tally([code for code, _ in ended]).items():
            self._process.streams.child(code).inc(count)
        self._process.stream_seconds.child().observe_all([seconds for _, seconds in ended])

    def _prefix_blocks(self) -> Rows:
        producers = [producer for profile in self._profiles for producer in profile.producers]
        blocks = [len(p.index) for p in producers if isinstance(p, ApproxPrefixCacheProducer)]
        return [(PREFIX, float(sum(blocks)))] if blocks else []

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
        self._late = Late(self._count)
        self.settle = self._late.settle

    def took(self, point: Point, plugin_type: str, seconds: float) -> None:
        """One call of one plugin."""
        self._late.add((point, plugin_type, seconds))

    def _count(self, calls: list[tuple[Point, str, float]]) -> None:
        by_plugin: dict[tuple[Point, str], list[float]] = {}
        for point, plugin_type, seconds in calls:
            by_plugin.setdefault((point, plugin_type), []).append(seconds)
        for (point, plugin_type), took in by_plugin.items():
            self._family.child(point, plugin_type, plugin_type).observe_all(took)


class _Settled(Collector):
    """For who reads the registry: what comes before all families."""

    def __init__(self, settle: Callable[[], None]) -> None:
        self._settle = settle

    def collect(self) -> Iterator[Metric]:
        self._settle()
        return iter(())


@cache
def package_version() -> str:
    """The version of this package, as installed."""
    try:
        return version("onehop")
    except PackageNotFoundError:
        return "unknown"
