"""Spans as bytes are what the SDK would have made of them; what waits to be exported is bounded and counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from epp.domain import ConfigError
from epp.edge import otlp as exporting
from epp.edge.otel import Placed, Tracing
from epp.edge.otlp import Export, Tree
from epp.telemetry import otlp, spans
from epp.telemetry.otlp import Kind

NANOSECONDS = 1_000_000_000
values = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=300)
)
placed = st.builds(
    Placed,
    st.builds(
        spans.Span,
        name=st.text(max_size=200),
        start=st.floats(0, 1e6),
        end=st.floats(0, 1e6),
        attributes=st.dictionaries(st.text(min_size=1, max_size=40), values, max_size=8),
        error=st.none() | st.sampled_from(["500", "disconnected"]),
    ),
    own=st.integers(1, 2**64 - 1),
    above=st.just(0) | st.integers(1, 2**64 - 1),
    kind=st.sampled_from(Kind),
    remote=st.booleans(),
).map(lambda one: one if one.above else replace(one, remote=False))


@pytest.fixture(scope="module")
def tracing() -> Tracing:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_TRACES_EXPORTER", "none")
        return Tracing(1.0)


@given(tree=st.lists(placed, min_size=1, max_size=4), trace=st.integers(1, 2**128 - 1), clock=st.integers(0, 2**62))
def test_the_bytes_are_the_ones_of_the_sdk(tracing: Tracing, tree: list[Placed], trace: int, clock: int) -> None:
    theirs = encode_spans([tracing._made(trace, one, clock) for one in tree])
    (resource,) = theirs.resource_spans
    ours = b"".join(
        otlp.encode(
            one.said,
            otlp.identity(trace, one.own),
            one.above.to_bytes(8, "big") if one.above else b"",
            one.kind,
            clock,
            remote=one.remote,
        )
        for one in tree
    )
    made = exporting._requests(tracing._resource, tracing._scope)([Tree(len(tree), ours)])

    assert made == theirs
    assert len(made.resource_spans[0].scope_spans[0].spans) == len(resource.scope_spans[0].spans) == len(tree)


def test_one_and_true_are_not_taken_for_each_other() -> None:
    said = (
        spans.Span("s", 0.0, 1.0, {"a": True}),
        spans.Span("s", 0.0, 1.0, {"a": 1}),
        spans.Span("s", 0.0, 1.0, {"a": 1.0}),
    )

    assert len({otlp.encode(one, otlp.identity(1, 1), b"", Kind.SERVER, 0) for one in said}) == 3


class Stuck(SpanExporter):
    """Takes a batch and keeps it until it is let go."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.go = threading.Event()
        self.batches: list[int] = []
        self._result = result

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.batches.append(len(spans))
        self.go.wait(20)
        return self._result

    def shutdown(self) -> None:
        pass


def test_what_finds_no_place_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "40")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "12")
    stuck = Stuck()
    export = Export(stuck, plain=False)
    for _ in range(30):
        export.emit(Tree(4))
    before = export.fates()
    stuck.go.set()
    export.close()

    assert before == {"exported": 0, "failed": 0, "dropped": 80}
    assert export.fates() == {"exported": 40, "failed": 0, "dropped": 80}
    assert max(stuck.batches) <= 2, "a batch holds no more spans than the SDK's variable says"
    assert export.trouble() is None


def test_what_the_collector_refused_makes_room_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Stuck(SpanExportResult.FAILURE)
    failing.go.set()
    export = Export(failing, plain=False)
    export.emit(Tree(5))
    export.close()

    assert export.fates() == {"exported": 0, "failed": 5, "dropped": 0}
    assert export.trouble() is not None


@pytest.mark.parametrize("said", ["many", "0", "-1"])
def test_a_size_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", said)

    with pytest.raises(ConfigError, match="OTEL_BSP_MAX_QUEUE_SIZE"):
        Tracing(1.0)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_installed_sdk_takes_encoded_spans(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """Where it does not, all works, and costs more."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    tracing = Tracing(1.0, "http://127.0.0.1:1")

    assert tracing._export is not None
    assert not tracing._export.plain


@pytest.mark.parametrize(("protocol", "exporter"), [("grpc", GrpcExporter), ("http/protobuf", HttpExporter)])
def test_an_sdk_without_the_seam_exports_its_own_spans(
    monkeypatch: pytest.MonkeyPatch, protocol: str, exporter: type[SpanExporter]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    sent: list[ExportTraceServiceRequest] = []

    def export(self: SpanExporter, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent.append(encode_spans(spans))
        return SpanExportResult.SUCCESS

    monkeypatch.setattr(exporter, "export", export)
    monkeypatch.setattr(exporting, "hasattr", lambda *_: False, raising=False)
    tracing = Tracing(1.0, "http://127.0.0.1:1")
    tracing.emit(7, [Placed(spans.Span("s", 0.0, 1.0, {"a": 1, "b": None}), 3, 0, Kind.SERVER)])
    tracing.close()

    (span,) = sent[0].resource_spans[0].scope_spans[0].spans
    assert (span.name, span.trace_id[-1], span.span_id[-1], span.kind) == ("s", 7, 3, Kind.SERVER)
    assert [pair.key for pair in span.attributes] == ["a"]
    assert tracing.fates() == {"exported": 1, "failed": 0, "dropped": 0}
