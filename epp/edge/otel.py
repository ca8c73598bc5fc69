"""Traces by OpenTelemetry's SDK; the only importer of it, and imported only where tracing is on.

A request's spans are made when it is over, of its receipt, so a request that is not sampled costs the dice and a
header, and one that is sampled pays after its answer. Only what the model server must be told is made before: the
request's span and that of the call. Must stay true: whatever the collector does, no request waits for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_RESOURCE_ATTRIBUTES,
    OTEL_SERVICE_NAME,
    OTEL_TRACES_SAMPLER,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from epp.domain import ConfigError, Receipt
from epp.outcome import Routed
from epp.telemetry import package_version, spans

OTEL_TRACES_EXPORTER = "OTEL_TRACES_EXPORTER"  # the specification's; the SDK leaves it to its launcher
SAMPLE = 0.1  # of the requests whose caller has not decided: the Go picker's default
CLOSE_S = 3.0  # for what is left to export at the end
_PROPAGATOR = TraceContextTextMapPropagator()
_CARRIED = ("traceparent", "tracestate")


class Tracing:
    """A `Tracer`. `sample` and `endpoint` go before the SDK's environment variables, which say everything else."""

    def __init__(
        self, sample: float | None = None, endpoint: str | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ConfigError for an environment that asks for what there is not."""
        self._now = now
        self._exporter = _Counted(exporter) if (exporter := _exporter(endpoint)) is not None else None
        by_environment = sample is None and os.environ.get(OTEL_TRACES_SAMPLER)
        ratio = SAMPLE if sample is None else sample
        sampler = None if by_environment else ParentBasedTraceIdRatio(ratio)
        self._provider = TracerProvider(sampler, _resource(), shutdown_on_exit=False)
        if self._exporter is not None:
            self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("onehop", package_version())

    def start(self, headers: Mapping[str, str], began: float) -> _Sampled | _Unsampled:
        """The caller's trace goes on; without one, or with one that we cannot read, a new one begins."""
        carried = {name: headers[name] for name in _CARRIED if name in headers}
        above = _PROPAGATOR.extract(carried, Context())
        clock = time.time_ns() - int(self._now() * 1e9)
        span = self._tracer.start_span(spans.REQUEST, above, kind=SpanKind.SERVER, start_time=clock + int(began * 1e9))
        return _Sampled(self, span, began, clock) if span.is_recording() else _Unsampled(span)

    def begin(self, name: str, context: Context, kind: SpanKind, start_ns: int) -> Span:
        """A span under another."""
        return self._tracer.start_span(name, context, kind=kind, start_time=start_ns)

    def now(self) -> float:
        """The monotonic second."""
        return self._now()

    def fates(self) -> dict[str, int]:
        """Spans by what became of them."""
        return {} if self._exporter is None else self._exporter.fates

    def trouble(self) -> str | None:
        """Why the last export failed; None where it did not."""
        return None if self._exporter is None else self._exporter.trouble

    def close(self) -> None:
        """Export what is left, as far as the collector takes it in time. Blocking."""
        # A thread that the interpreter does not wait for: exporters try for as long as they please.
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(CLOSE_S)


class _Sampled:
    """A request whose spans are exported."""

    __slots__ = ("_began", "_call", "_clock", "_engine", "_root", "_tracing")

    def __init__(self, tracing: Tracing, root: Span, began: float, clock: int) -> None:
        self._tracing = tracing
        self._root: Span | None = root
        self._began = began
        self._clock = clock
        self._call: Span | None = None
        self._engine: str | None = None

    def routed(self, routed: Routed) -> None:
        root, receipt = self._root, routed.receipt
        if root is None:
            return
        if self._call is None and routed.lease is not None:
            start = self._ns(receipt.time + (receipt.decided_s or 0.0))
            self._call = self._tracing.begin("call", set_span_in_context(root, Context()), SpanKind.CLIENT, start)
        if routed.lease is not None and (probe := routed.lease.endpoint.probe) is not None:
            self._engine = probe.engine
        receipt.trace_id = format_trace_id(root.get_span_context().trace_id)
        _tell(routed, self._call or root)

    def ended(self, receipt: Receipt) -> None:
        root, self._root = self._root, None
        if root is None:
            return
        receipt.trace_id = format_trace_id(root.get_span_context().trace_id)
        after_s = receipt.decided_s if receipt.ended_s is None else receipt.ended_s
        ended = self._tracing.now() if after_s is None else receipt.time + after_s
        under = set_span_in_context(root, Context())
        for step in spans.steps(receipt, self._began):
            self._finish(self._tracing.begin(step.name, under, SpanKind.INTERNAL, self._ns(step.start)), step)
        if self._call is not None:
            self._finish(self._call, spans.call(receipt, ended, self._engine))
        self._finish(root, spans.request(receipt, self._began, ended))

    def abandoned(self) -> None:
        root, self._root = self._root, None
        if root is None:
            return
        root.set_attribute("error.type", "disconnected")
        root.set_status(Status(StatusCode.ERROR))
        root.end(self._ns(self._tracing.now()))

    def _finish(self, span: Span, said: spans.Span) -> None:
        span.update_name(said.name)
        span.set_attributes(said.attributes)
        if said.error is not None:
            span.set_attribute("error.type", said.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(self._ns(said.end))

    def _ns(self, second: float) -> int:
        """A monotonic second as wall-clock nanoseconds."""
        return self._clock + int(second * 1e9)


class _Unsampled:
    """A request of which nothing is exported; the model server is told so, and takes no trace of it either."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def routed(self, routed: Routed) -> None:
        _tell(routed, self._span)

    def ended(self, receipt: Receipt) -> None:
        pass

    def abandoned(self) -> None:
        pass


class _Counted(SpanExporter):
    """Another exporter, and how it fared. On the exporting thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.fates = {"exported": 0, "failed": 0}
        self.trouble: str | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        worked = result is SpanExportResult.SUCCESS
        self.fates["exported" if worked else "failed"] += len(spans)
        self.trouble = None if worked else "the collector did not take the last spans"
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _tell(routed: Routed, span: Span) -> None:
    """The model server's spans come under this one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(span, Context()))
    routed.route.set_headers = [*routed.route.set_headers, *carrier.items()]


def _resource() -> Resource:
    given = OTEL_SERVICE_NAME in os.environ or "service.name=" in os.environ.get(OTEL_RESOURCE_ATTRIBUTES, "")
    name = {} if given else {"service.name": "onehop"}
    return Resource.create({**name, "service.version": package_version()})


def _exporter(endpoint: str | None) -> SpanExporter | None:
    """Where spans go, as the SDK's variables say; the collector's address is `endpoint` where that is given."""
    kind = os.environ.get(OTEL_TRACES_EXPORTER, "otlp").strip().lower() or "otlp"
    if kind == "none":
        return None
    if kind == "console":
        return ConsoleSpanExporter()
    if kind != "otlp":
        raise ConfigError(OTEL_TRACES_EXPORTER, f"'{kind}' is none of otlp, console, none")
    if _protocol() == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415  # one of two is needed
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter(endpoint)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # likewise
        OTLPSpanExporter as HttpExporter,
    )

    return HttpExporter(None if endpoint is None else endpoint.rstrip("/") + "/v1/traces")


def _protocol() -> Literal["grpc", "http/protobuf"]:
    """gRPC where nobody says, as for the Go picker."""
    for name in (OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, OTEL_EXPORTER_OTLP_PROTOCOL):
        said = os.environ.get(name, "").strip().lower()
        if said == "grpc":
            return "grpc"
        if said == "http/protobuf":
            return "http/protobuf"
        if said:
            raise ConfigError(name, f"'{said}' is neither grpc nor http/protobuf")
    return "grpc"
