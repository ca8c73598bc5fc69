"""Every metric name; the only importer of prometheus_client. Labels come from closed or capped sets.

Names, labels and buckets of `llm_d_epp_*` and of their deprecated twins are the Go picker's, so that its dashboards
go on working; what only we know is under `onehop_`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import fmean, pstdev

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from epp.datastore.pool import Pool
from epp.domain import Load, Receipt

Labels = tuple[str, str, str, str]  # as in _REQUEST

OTHER = "other"
NAMES_MAX = 1000  # of models and of tenants; the Go picker's cap
ALIASES = frozenset({"auto", "MoM", "vllm-sr/auto"})
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
PRIORITY = "0"  # of every request, until objectives are read

_FAST_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_TTFT_S = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120)
_DURATION_S = (*_TTFT_S, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)
_NTPOT_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_TPOT_S = (0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 2)
_BYTES = tuple(2**n for n in range(6, 31))
_OUTPUT = (1, *(2**n for n in range(3, 14)))
_INPUT = (*_OUTPUT, *(2**n for n in range(14, 21)))
_REQUEST = ("model_name", "target_model_name", "fairness_id", "priority")
_OLD = ("model_name", "target_model_name", "priority")


class Telemetry:
    """The metrics of one process, in a registry of its own."""

    def __init__(self, pool: Pool) -> None:
        self.registry = registry = CollectorRegistry()
        self._pool = pool
        self._tenants: set[str] = set()
        self._models: set[str] = set()
        self._requests = _Counts(registry, "request", "Requests that got an endpoint.")
        self._errors = _Counts(registry, "request_error", "Requests refused, or answered with an error.", "error_code")
        self._sizes = _Sizes(registry, "request_size_bytes", "request_sizes", "Bytes of request bodies.", _BYTES)
        self._duration = _Sizes(
            registry, "request_duration_seconds", "request_duration_seconds", "Decision to end.", _DURATION_S
        )
        self._input = _Sizes(registry, "request_input_tokens", "input_tokens", "Prompt tokens.", _INPUT)
        self._output = _Sizes(registry, "request_output_tokens", "output_tokens", "Generated tokens.", _OUTPUT)
        self._cached = _Sizes(
            registry, "request_cached_tokens", "prompt_cached_tokens", "Prompt tokens from the prefix cache.", _INPUT
        )
        self._answered = _Sizes(
            registry, "response_size_bytes", "response_sizes", "Bytes of response bodies, where shown.", _BYTES
        )
        self._ntpot = _Sizes(
            registry,
            "request_ntpot_seconds",
            "normalized_time_per_output_token_seconds",
            "Decision to end, for each generated token.",
            _NTPOT_S,
        )
        self._tpot = Histogram(
            "llm_d_epp_request_streaming_tpot_seconds",
            "First answer byte to end, for each token after the first, of streams.",
            _REQUEST,
            buckets=_TPOT_S,
            registry=registry,
        )
        self._running = Gauge("llm_d_epp_request_running", "Requests sent and not ended.", _REQUEST, registry=registry)
        self._attempts = _counter(
            registry,
            "llm_d_epp_scheduler_attempts",
            "Decisions, with the endpoint where there was one.",
            ["status", "target_model_name", "endpoint_name", "namespace", "port"],
        )
        self._ttft = Histogram(
            "llm_d_epp_request_ttft_seconds",
            "Decision to the first answer byte we see.",
            [*_REQUEST, "streaming"],
            buckets=_TTFT_S,
            registry=registry,
        )
        self._scheduler = Histogram(
            "llm_d_epp_scheduler_e2e_duration_seconds", "Time to decide.", buckets=_FAST_S, registry=registry
        )
        self.streams = Gauge("llm_d_epp_extproc_streams_inflight", "Open ext_proc streams.", registry=registry)
        self._outcomes = _counter(registry, "onehop_request_outcome", "Ended requests by outcome.", ["outcome"])
        self._classified = _counter(
            registry, "onehop_classification", "Requests for an alias.", ["classification", "decision"]
        )
        self._surprises = _counter(registry, "onehop_surprise", "Defects that a request survived.", ["type"])
        registry.register(_PoolCollector(pool))

    def decided(self, receipt: Receipt) -> None:
        """A request got its model and endpoint, or its refusal."""
        if receipt.decided_s is not None:
            self._scheduler.observe(receipt.decided_s)
        labels = self._labels(receipt)
        self._attempt(receipt, labels[1])
        if receipt.picked is not None:
            self._requests.add(labels)
            self._sizes.observe(labels, receipt.body_bytes)
            self._running.labels(*labels).inc()
        choice = receipt.choice
        if choice is not None and choice.reason:
            self._classified.labels(choice.classification, choice.decision or "").inc()

    def ended(self, receipt: Receipt) -> None:
        """A request's stream is over, or it was answered by ourselves."""
        self._outcomes.labels(receipt.outcome).inc()
        labels = self._labels(receipt)
        status = receipt.status or 0
        if status >= 400:
            code = MODEL_SERVER_ERROR if receipt.picked else ERROR_CODES.get(status, "Unknown")
            self._errors.add(labels, code)
        if receipt.picked is not None:
            self._running.labels(*labels).dec()
        if receipt.answer_bytes is not None:
            self._answered.observe(labels, receipt.answer_bytes)
        if receipt.first_answer_s is not None:
            self._ttft.labels(*labels, str(receipt.stream).lower()).observe(receipt.first_answer_s)
        if receipt.ended_s is not None:
            self._duration.observe(labels, receipt.ended_s)
        if receipt.usage is not None:
            self._input.observe(labels, receipt.usage.prompt)
            self._output.observe(labels, receipt.usage.completion)
            self._cached.observe(labels, receipt.usage.cached)
            self._paces(labels, receipt, receipt.usage.completion)

    def _paces(self, labels: Labels, receipt: Receipt, tokens: int) -> None:
        """Seconds a token, as the client had to wait for them."""
        if receipt.ended_s is None or tokens == 0:
            return
        self._ntpot.observe(labels, receipt.ended_s / tokens)
        if receipt.stream and receipt.first_answer_s is not None and tokens > 1:
            self._tpot.labels(*labels).observe((receipt.ended_s - receipt.first_answer_s) / (tokens - 1))

    def _attempt(self, receipt: Receipt, target: str) -> None:
        endpoint = self._pool.at(receipt.picked) if receipt.picked is not None else None
        namespace, _, name = endpoint.name.rpartition("/") if endpoint else ("", "", "")
        port = receipt.picked.rpartition(":")[2] if receipt.picked is not None else ""
        self._attempts.labels("success" if receipt.picked else "failure", target, name, namespace, port).inc()

    def surprise(self, error: BaseException) -> None:
        """A defect of ours; the exception's type is the label, its text is not used."""
        self._surprises.labels(type(error).__name__).inc()

    def text(self) -> bytes:
        """The exposition for a scrape."""
        return generate_latest(self.registry)

    def _labels(self, receipt: Receipt) -> Labels:
        if receipt.labels is None:
            receipt.labels = self._new_labels(receipt)
        return receipt.labels

    def _new_labels(self, receipt: Receipt) -> Labels:
        routed = receipt.picked is not None
        return (
            self._model(receipt.asked_model, routed),
            self._model(receipt.model, routed),
            self._tenant(receipt.tenant),
            PRIORITY,
        )

    def _model(self, name: str | None, routed: bool) -> str:
        """Names that are served are labels; of those that clients make up, the first that were routed anywhere."""
        if name is None:
            return ""
        if name in ALIASES or any(e.models is not None and name in e.models for e in self._pool.endpoints):
            return name
        return _capped(name, self._models) if routed or name in self._models else OTHER

    def _tenant(self, name: str) -> str:
        return _capped(name, self._tenants)


def _capped(name: str, known: set[str]) -> str:
    """The name while there is room for names, else the one that all others share."""
    if name not in known:
        if len(known) >= NAMES_MAX:
            return OTHER
        known.add(name)
    return name


def _counter(registry: CollectorRegistry, name: str, text: str, labels: list[str]) -> Counter:
    return Counter(name, text, labels, registry=registry)


class _Counts:
    """A request counter and its deprecated twin, which knows no tenants."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, *more: str) -> None:
        self._new = _counter(registry, f"llm_d_epp_{name}", text, [*_REQUEST, *more])
        self._old = _counter(registry, f"inference_objective_{name}", f"Deprecated: llm_d_epp_{name}.", [*_OLD, *more])
        self._bound: dict[tuple[str, ...], tuple[Counter, Counter]] = {}

    def add(self, labels: Labels, *more: str) -> None:
        """One more."""
        bound = self._bound.get((*labels, *more))
        if bound is None:
            model, target, _, priority = labels
            bound = self._new.labels(*labels, *more), self._old.labels(model, target, priority, *more)
            self._bound[*labels, *more] = bound
        for child in bound:
            child.inc()


class _Sizes:
    """A request histogram and its deprecated twin."""

    def __init__(self, registry: CollectorRegistry, name: str, old: str, text: str, buckets: tuple[float, ...]) -> None:
        new_name, old_name = f"llm_d_epp_{name}", f"inference_objective_{old}"
        self._new = Histogram(new_name, text, _REQUEST, buckets=buckets, registry=registry)
        self._old = Histogram(old_name, f"Deprecated: {new_name}.", _OLD, buckets=buckets, registry=registry)
        self._bound: dict[Labels, tuple[Histogram, Histogram]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """One value."""
        bound = self._bound.get(labels)
        if bound is None:
            model, target, _, priority = labels
            bound = self._bound[labels] = self._new.labels(*labels), self._old.labels(model, target, priority)
        for child in bound:
            child.observe(value)


class _PoolCollector(Collector):
    """Endpoint gauges, read from the pool when scraped and costing nothing in between."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        endpoints = self._pool.endpoints
        loads = [e.load for e in endpoints if e.load is not None]
        ready = [float(sum(e.reachable for e in endpoints))]
        yield self._gauge("llm_d_epp_ready_endpoints", "Endpoints that can be reached.", ready)
        yield self._gauge("inference_pool_ready_pods", "Deprecated: llm_d_epp_ready_endpoints.", ready)
        for name, old, values in _averages(loads):
            if values:
                yield self._gauge(f"llm_d_epp_average_{name}", "Mean over the endpoints.", [fmean(values)])
                yield self._gauge(f"llm_d_epp_std_dev_{name}", "Spread over the endpoints.", [pstdev(values)])
                yield self._gauge(
                    f"inference_pool_average_{old}", f"Deprecated: llm_d_epp_average_{name}.", [fmean(values)]
                )
        waiting = [(e.address, e.load.waiting) for e in endpoints if e.load and e.load.waiting is not None]
        yield self._by_endpoint("llm_d_epp_per_endpoint_queue_size", "Waiting, by the engine's own count.", waiting)
        old_name, old_label = "inference_pool_per_pod_queue_size", "model_server_pod"
        yield self._by_endpoint(old_name, "Deprecated: llm_d_epp_per_endpoint_queue_size.", waiting, old_label)
        requests = [(e.address, float(e.inflight_requests)) for e in endpoints]
        yield self._by_endpoint("onehop_endpoint_inflight_requests", "Leases open on the endpoint.", requests)
        tokens = [(e.address, float(e.inflight_tokens)) for e in endpoints]
        yield self._by_endpoint("onehop_endpoint_inflight_tokens", "Prompt tokens not yet answered.", tokens)
        reachable = [(e.address, float(e.reachable)) for e in endpoints]
        yield self._by_endpoint("onehop_endpoint_reachable", "1 when the last contact succeeded.", reachable)

    def _gauge(self, name: str, text: str, values: list[float]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=["name"])
        for value in values:
            family.add_metric([self._pool.name], value)
        return family

    def _by_endpoint(
        self, name: str, text: str, rows: Iterable[tuple[str, float]], label: str = "model_server_endpoint"
    ) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=["name", label])
        for address, value in rows:
            family.add_metric([self._pool.name, address], value)
        return family


def _averages(loads: list[Load]) -> list[tuple[str, str, list[float]]]:
    """New name, deprecated name, and what the endpoints say."""
    return [
        ("kv_cache_utilization", "kv_cache_utilization", [x.kv_usage for x in loads if x.kv_usage is not None]),
        ("queue_size", "queue_size", [x.waiting for x in loads if x.waiting is not None]),
        ("running_requests", "running_requests", [x.running for x in loads if x.running is not None]),
    ]
