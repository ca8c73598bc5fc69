"""Traces by OpenTelemetry's SDK; the only importer of it, and imported only where tracing is on.

A request's spans are made when it is over, of its receipt, so a request that is not sampled costs the dice and a
header, and one that is sampled pays after its answer. Only the identities that the model server must be told are made
before. Must stay true: whatever the collector does, no request waits for it.
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
    OTEL_SDK_DISABLED,
    OTEL_SERVICE_NAME,
    OTEL_TRACES_SAMPLER,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBasedTraceIdRatio, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_trace_id,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from epp.domain import ConfigError, Receipt
from epp.outcome import Routed
from epp.telemetry import package_version, spans

OTEL_TRACES_EXPORTER = "OTEL_TRACES_EXPORTER"  # the specification's; the SDK leaves it to its launcher
SAMPLE = 0.1  # of the requests whose caller has not decided: the Go picker's default
CLOSE_S = 3.0  # for what is left to export at the end
_NOWHERE = Context()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET, _FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_PROPAGATOR = TraceContextTextMapPropagator()
_CARRIED = ("traceparent", "tracestate")


class Tracing:
    """A `Tracer`. `sample` and `endpoint` go before the SDK's environment variables, which say everything else."""

    def __init__(
        self, sample: float | None = None, endpoint: str | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ConfigError for an environment that asks for what there is not."""
        self.now = now
        exporter = _exporter(endpoint)
        self._exporter = None if exporter is None else _Counted(exporter)
        self._processor = None if self._exporter is None else BatchSpanProcessor(self._exporter)
        self._provider = TracerProvider(_sampler(sample), _resource(), shutdown_on_exit=False)
        self._sampler, self._ids = self._provider.sampler, self._provider.id_generator
        self._scope = InstrumentationScope("onehop", package_version())

    def start(self, headers: Mapping[str, str], began: float) -> _Sampled | _Unsampled:
        """The caller's trace goes on; without one, or with one that we cannot read, a new one begins."""
        above, context = None, _NOWHERE
        if "traceparent" in headers:
            context = _PROPAGATOR.extract({name: headers[name] for name in _CARRIED if name in headers}, _NOWHERE)
            found = get_current_span(context).get_span_context()
            above = found if found.is_valid else None
        trace = self._ids.generate_trace_id() if above is None else above.trace_id
        drawn = self._sampler.should_sample(context, trace, spans.REQUEST, SpanKind.SERVER)
        if drawn.decision is not Decision.RECORD_AND_SAMPLE:
            return _Unsampled(trace, self._ids.generate_span_id())
        return _Sampled(self, self.context(trace), above, began)

    def context(self, trace: int) -> SpanContext:
        """The identity of one more span of a trace that is exported."""
        return SpanContext(trace, self._ids.generate_span_id(), is_remote=False, trace_flags=_SAMPLED)

    def emit(self, said: spans.Span, own: SpanContext, above: SpanContext | None, kind: SpanKind, clock: int) -> None:
        """A span that is over goes to whoever exports it; `clock` turns its seconds into wall-clock nanoseconds."""
        if self._processor is None:
            return
        error = said.error is not None
        span = ReadableSpan(  # made whole: the SDK's way over a span that changes costs four times as much
            said.name,
            own,
            above,
            self._provider.resource,
            {**said.attributes, "error.type": said.error} if said.error is not None else said.attributes,
            kind=kind,
            status=_FAILED if error else _UNSET,
            start_time=clock + int(said.start * 1e9),
            end_time=clock + int(said.end * 1e9),
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)

    def fates(self) -> dict[str, int]:
        """Spans by what became of them."""
        return {} if self._exporter is None else self._exporter.fates

    def trouble(self) -> str | None:
        """Why the last export failed; None where it did not."""
        return None if self._exporter is None else self._exporter.trouble

    def close(self) -> None:
        """Export what is left, as far as the collector takes it in time. Blocking."""
        if self._processor is None:
            return
        # A thread that the interpreter does not wait for: exporters try for as long as they please.
        last = threading.Thread(target=self._processor.shutdown, daemon=True)
        last.start()
        last.join(CLOSE_S)


class _Sampled:
    """A request whose spans are exported."""

    __slots__ = ("_above", "_began", "_call", "_engine", "_over", "_own", "_tracing")

    def __init__(self, tracing: Tracing, own: SpanContext, above: SpanContext | None, began: float) -> None:
        self._tracing = tracing
        self._own = own
        self._above = above
        self._began = began
        self._call: SpanContext | None = None
        self._engine: str | None = None
        self._over = False

    def routed(self, routed: Routed) -> None:
        routed.receipt.trace_id = format_trace_id(self._own.trace_id)
        if routed.lease is None:  # the second stream of the request goes on under this one
            _tell(routed, self._own.trace_id, self._own.span_id, "01")
            return
        if self._call is None:
            self._call = self._tracing.context(self._own.trace_id)
        probe = routed.lease.endpoint.probe
        self._engine = None if probe is None else probe.engine
        _tell(routed, self._call.trace_id, self._call.span_id, "01")

    def ended(self, receipt: Receipt) -> None:
        if self._over:
            return
        self._over = True
        receipt.trace_id = format_trace_id(self._own.trace_id)
        tracing, own = self._tracing, self._own
        clock = time.time_ns() - int(tracing.now() * 1e9)
        after_s = receipt.decided_s if receipt.ended_s is None else receipt.ended_s
        ended = tracing.now() if after_s is None else receipt.time + after_s
        for step in spans.steps(receipt, self._began):
            tracing.emit(step, tracing.context(own.trace_id), own, SpanKind.INTERNAL, clock)
        if self._call is not None:
            tracing.emit(spans.call(receipt, ended, self._engine), self._call, own, SpanKind.CLIENT, clock)
        tracing.emit(spans.request(receipt, self._began, ended), own, self._above, SpanKind.SERVER, clock)

    def abandoned(self) -> None:
        if self._over:
            return
        self._over = True
        now = self._tracing.now()
        said = spans.Span(spans.REQUEST, self._began, now, error="disconnected")
        self._tracing.emit(said, self._own, self._above, SpanKind.SERVER, time.time_ns() - int(now * 1e9))


class _Unsampled:
    """A request of which nothing is exported; the model server is told so, and takes no trace of it either."""

    __slots__ = ("_span", "_trace")

    def __init__(self, trace: int, span: int) -> None:
        self._trace = trace
        self._span = span

    def routed(self, routed: Routed) -> None:
        _tell(routed, self._trace, self._span, "00")

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


def _tell(routed: Routed, trace: int, span: int, flags: str) -> None:
    """The model server's spans come under this one; `tracestate` goes on as it is.

    The header is W3C's (https://www.w3.org/TR/trace-context/).
    """
    said = "traceparent", f"00-{trace:032x}-{span:016x}-{flags}"
    routed.route.set_headers = [*routed.route.set_headers, said]


def _sampler(sample: float | None) -> Sampler | None:
    """None is what the SDK's variable says."""
    if os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return ALWAYS_OFF
    if sample is None and os.environ.get(OTEL_TRACES_SAMPLER):
        return None
    return ParentBasedTraceIdRatio(SAMPLE if sample is None else sample)


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
