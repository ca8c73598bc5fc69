"""Takes spans over OTLP's gRPC and forgets them: `python -m benchmarks.observe.collector` says its address."""

from __future__ import annotations

import asyncio
import sys

import grpc

METHOD = "opentelemetry.proto.collector.trace.v1.TraceService"


async def main() -> None:
    """Serve until killed."""

    async def export(request: bytes, _: object) -> bytes:
        return b""  # an ExportTraceServiceResponse in which everything was taken

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(METHOD, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
