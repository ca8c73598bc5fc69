"""Exports the spans of requests by OpenTelemetry's own exporters and batches, as its environment variables say.

Spans come encoded, a request's together. The SDK's gRPC and HTTP exporters send them; where an SDK has not the seams
for that, and on a console, they go the SDK's slower way. Must stay true: what waits is bounded, and what finds no
place is counted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from epp.domain import ConfigError

OTEL_TRACES_EXPORTER = "OTEL_TRACES_EXPORTER"  # the specification's; the SDK leaves it to its launcher
CLOSE_S = 3.0  # for what is left to export at the end
SPANS_EACH = 6  # of a request, at most: the SDK's variables count spans, and its batches here count requests
QUEUE_SPANS, BATCH_SPANS = 2048, 512  # the specification's defaults
_SAMPLED = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class Tree(ReadableSpan):
    """A request's spans, `encoded` or as the SDK's own (`made`); to the SDK's processor it is one span that is over."""

    def __init__(self, count: int, encoded: bytes = b"", made: Sequence[ReadableSpan] = ()) -> None:
        self.count = count
        self.encoded = encoded
        self.made = made

    @property
    def context(self) -> SpanContext:
        return _SAMPLED


class Export:
    """Takes trees and exports them in batches, on a thread of the SDK's. `plain` wants the SDK's spans in them."""

    def __init__(self, exporter: SpanExporter, plain: bool) -> None:
        """Raises ConfigError for sizes that the SDK does not take."""
        self.plain = plain
        self._queue_max = _number(OTEL_BSP_MAX_QUEUE_SIZE, QUEUE_SPANS)
        self._exporter = _Counted(exporter)
        batch = _number(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, BATCH_SPANS)
        if batch > self._queue_max:
            raise ConfigError(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, f"{batch} is more than {OTEL_BSP_MAX_QUEUE_SIZE}")
        each = max(1, batch // SPANS_EACH)
        # More than ever wait: `emit` turns away before, and counts.
        self._processor = BatchSpanProcessor(self._exporter, max(self._queue_max, each) + 1, max_export_batch_size=each)
        self._taken = self._dropped = 0

    def emit(self, tree: Tree) -> None:
        """It goes out with the next batch; or is dropped, where as many spans wait as may."""
        fates = self._exporter.fates
        if self._taken - fates["exported"] - fates["failed"] + tree.count > self._queue_max:
            self._dropped += tree.count
            return
        self._taken += tree.count
        self._processor.on_end(tree)

    def fates(self) -> dict[str, int]:
        """Spans by what became of them."""
        return {**self._exporter.fates, "dropped": self._dropped}

    def trouble(self) -> str | None:
        """Why the last export failed; None where it did not."""
        return self._exporter.trouble

    def flush(self) -> None:
        """Export what there is. Blocking."""
        self._processor.force_flush()

    def close(self) -> None:
        """Export what is left, as far as the collector takes it in time. Blocking."""
        # A thread that the interpreter does not wait for: exporters try for as long as they please.
        last = threading.Thread(target=self._processor.shutdown, daemon=True)
        last.start()
        last.join(CLOSE_S)


def export(endpoint: str | None, resource: Resource, scope: InstrumentationScope) -> Export | None:
    """Where spans go, as the SDK's variables say; the collector's address is `endpoint` where that is given.

    None where they go nowhere. Raises ConfigError for an environment that asks for what there is not.
    """
    kind = os.environ.get(OTEL_TRACES_EXPORTER, "otlp").strip().lower() or "otlp"
    if kind == "none":
        return None
    if kind == "console":
        return Export(_Plain(ConsoleSpanExporter()), plain=True)
    if kind != "otlp":
        raise ConfigError(OTEL_TRACES_EXPORTER, f"'{kind}' is none of otlp, console, none")
    request = _requests(resource, scope)
    exporter, fast = _grpc(endpoint, request) if _protocol() == "grpc" else _http(endpoint, request)
    return Export(exporter, plain=False) if fast else Export(_Plain(exporter), plain=True)


Requests = Callable[[Sequence[ReadableSpan]], ExportTraceServiceRequest]


def _requests(resource: Resource, scope: InstrumentationScope) -> Requests:
    """Makes a batch's request of its trees; who we are is encoded once, by the SDK."""
    empty = encode_spans([ReadableSpan("", _SAMPLED, resource=resource, instrumentation_scope=scope)])
    empty.resource_spans[0].scope_spans[0].ClearField("spans")

    def made(trees: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        request = ExportTraceServiceRequest()
        request.CopyFrom(empty)
        spans = b"".join(cast(Tree, tree).encoded for tree in trees)
        request.resource_spans[0].scope_spans[0].MergeFromString(spans)
        return request

    return made


def _grpc(endpoint: str | None, request: Requests) -> tuple[SpanExporter, bool]:
    """The SDK's exporter over gRPC, and whether it takes encoded spans."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415  # one of two is needed
        OTLPSpanExporter,
    )

    class Encoded(OTLPSpanExporter):
        def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
            return request(data)

    fast = hasattr(OTLPSpanExporter, "_translate_data")
    return (Encoded if fast else OTLPSpanExporter)(endpoint), fast


def _http(endpoint: str | None, request: Requests) -> tuple[SpanExporter, bool]:
    """The SDK's exporter over HTTP, and whether it takes encoded spans."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # likewise
        OTLPSpanExporter,
    )

    class Encoded(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            client: Any = self._client
            sent = client.export(request(spans).SerializeToString())
            return SpanExportResult.SUCCESS if sent.success else SpanExportResult.FAILURE

    url = None if endpoint is None else endpoint.rstrip("/") + "/v1/traces"
    exporter = Encoded(url)
    fast = hasattr(getattr(exporter, "_client", None), "export")
    return (exporter, True) if fast else (OTLPSpanExporter(url), False)


class _Plain(SpanExporter):
    """For an exporter that wants the SDK's own spans."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([span for tree in spans for span in cast(Tree, tree).made])

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Counted(SpanExporter):
    """Another exporter, and how it fared. On the exporting thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.fates = {"exported": 0, "failed": 0}
        self.trouble: str | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        worked = False
        try:
            result = self._exporter.export(spans)
            worked = result is SpanExportResult.SUCCESS
        finally:
            self.fates["exported" if worked else "failed"] += sum(cast(Tree, tree).count for tree in spans)
            self.trouble = None if worked else "the collector did not take the last spans"
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit() or int(text) == 0:
        raise ConfigError(name, f"'{text}' is not a number above 0")
    return int(text)


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
