"""An OTLP collector in this process, over gRPC and HTTP: what a service exports to it, with real sockets between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb

METHOD = "opentelemetry.proto.collector.trace.v1.TraceService"
PATIENCE_S = 20.0
FLUSH_MS = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@dataclass
class Collector:
    """Spans as they came; `kind` is OTLP's number of it, identifiers are hexadecimal, times nanoseconds."""

    grpc_url: str = ""
    http_url: str = ""
    spans: list[dict[str, Any]] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    def take(self, request: pb.ExportTraceServiceRequest) -> None:
        for part in request.resource_spans:
            self.resources.append(_attributes(part.resource.attributes))
            for scope in part.scope_spans:
                self.spans += [_span(span) for span in scope.spans]

    async def whole(self, requests: int = 1) -> list[dict[str, Any]]:
        """The spans, once those of so many requests are there: a request's own comes last."""
        async with asyncio.timeout(PATIENCE_S):
            while sum(span["name"] == "gateway.request" for span in self.spans) < requests:
                await asyncio.sleep(0.02)
        return self.spans

    def named(self, name: str) -> dict[str, Any]:
        (found,) = [span for span in self.spans if span["name"] == name]
        return found


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()

    async def export(raw: bytes, _: object) -> bytes:
        collector.take(pb.ExportTraceServiceRequest.FromString(raw))
        return pb.ExportTraceServiceResponse().SerializeToString()

    async def post(request: web.Request) -> web.Response:
        collector.take(pb.ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(body=b"", content_type="application/x-protobuf")

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(export)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(METHOD, {"Export": handler}),))
    collector.grpc_url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    app = web.Application()
    app.router.add_post("/v1/traces", post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.http_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()
        await server.stop(None)


def _span(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "failed": span.status.code == 2,
        "attributes": _attributes(span.attributes),
    }


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
