"""Every metric name; the only importer of prometheus_client. Labels come from closed sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from epp.datastore.pool import Pool
from epp.domain import Receipt

_FAST_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0)
_ANSWER_S = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 20, 45, 120)
OTHER = "other"


class Telemetry:
    """The metrics of one process, in a registry of its own."""

    def __init__(self, pool: Pool) -> None:
        self.registry = CollectorRegistry()
        self._pool = pool
        self._requests = Counter(
            "llm_d_epp_request",
            "Requests by the model asked for and the model chosen.",
            ["model_name", "target_model_name"],
            registry=self.registry,
        )
        self._outcomes = Counter(
            "onehop_request_outcome", "Ended requests by outcome or refusal.", ["outcome"], registry=self.registry
        )
        self._decision = Histogram(
            "onehop_decision_seconds",
            "Time from the whole request to the decision.",
            buckets=_FAST_S,
            registry=self.registry,
        )
        self._first_answer = Histogram(
            "onehop_first_answer_seconds",
            "Time from the whole request to the first answer byte we see.",
            buckets=_ANSWER_S,
            registry=self.registry,
        )
        self._classified = Counter(
            "onehop_classification",
            "Requests for an alias by how they were classified.",
            ["classification", "decision"],
            registry=self.registry,
        )
        self._surprises = Counter(
            "onehop_surprise", "Defects that one request survived by a plain pick.", ["type"], registry=self.registry
        )
        self.streams = Gauge("llm_d_epp_extproc_streams_inflight", "Open ext_proc streams.", registry=self.registry)
        self.registry.register(_PoolCollector(pool))

    def decided(self, receipt: Receipt) -> None:
        """A request got its model and endpoint, or its refusal."""
        if receipt.decided_s is not None:
            self._decision.observe(receipt.decided_s)
        if receipt.picked is not None:
            self._requests.labels(self._model(receipt.asked_model), self._model(receipt.model)).inc()
        choice = receipt.choice
        if choice is not None and choice.reason:
            self._classified.labels(choice.classification, choice.decision or "").inc()

    def ended(self, receipt: Receipt) -> None:
        """A request's stream is over."""
        self._outcomes.labels(receipt.outcome).inc()
        if receipt.first_answer_s is not None:
            self._first_answer.observe(receipt.first_answer_s)

    def surprise(self, error: BaseException) -> None:
        """A defect of ours; the exception's type is the label, its text is not used."""
        self._surprises.labels(type(error).__name__).inc()

    def text(self) -> bytes:
        """The exposition for a scrape."""
        return generate_latest(self.registry)

    def _model(self, name: str | None) -> str:
        """Client-chosen names that nobody serves share one label."""
        if name is None:
            return ""
        return name if name in _ALIASES or any(name in (e.models or ()) for e in self._pool.endpoints) else OTHER


_ALIASES = ("auto", "MoM", "vllm-sr/auto")


class _PoolCollector(Collector):
    """Endpoint gauges, read from the pool when scraped and costing nothing in between."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        endpoints = self._pool.endpoints
        labels = ["model_server_endpoint"]
        rows: list[tuple[str, str, Iterable[tuple[str, float | None]]]] = [
            (
                "onehop_endpoint_inflight_requests",
                "Leases open on the endpoint.",
                [(e.address, e.inflight_requests) for e in endpoints],
            ),
            (
                "onehop_endpoint_inflight_tokens",
                "Prompt tokens sent and not yet answered.",
                [(e.address, e.inflight_tokens) for e in endpoints],
            ),
            (
                "onehop_endpoint_reachable",
                "1 when the last contact succeeded.",
                [(e.address, float(e.reachable)) for e in endpoints],
            ),
            (
                "llm_d_epp_per_endpoint_queue_size",
                "Waiting requests by the engine's own count.",
                [(e.address, e.load.waiting if e.load else None) for e in endpoints],
            ),
        ]
        ready = GaugeMetricFamily("llm_d_epp_ready_endpoints", "Endpoints that can be reached.", labels=["name"])
        ready.add_metric([self._pool.name], sum(e.reachable for e in endpoints))
        yield ready
        for name, text, values in rows:
            family = GaugeMetricFamily(name, text, labels=["name", *labels])
            for address, value in values:
                if value is not None:
                    family.add_metric([self._pool.name, address], value)
            yield family
