"""The gRPC servers: ext_proc streams, and health on the same port and on one of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from epp.edge.stream import Stream
from epp.protocol.codec import BadMessage
from epp.telemetry import Telemetry

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
HEALTH_NAMES = ("", "inference-extension", "liveness", "readiness", SERVICE)
MESSAGE_BYTES_MAX = 64 * 1024 * 1024  # Envoy sends a whole buffered body in one message
OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_concurrent_streams", 100_000),  # one stream a request in flight
    ("grpc.so_reuseport", 0),  # a taken port is an error, not a silent share
]


class Processor:
    """`ExternalProcessor/Process` over grpc.aio. Messages stay bytes: the codec is ours."""

    def __init__(self, new_stream: Callable[[], Stream], telemetry: Telemetry) -> None:
        self._new_stream = new_stream
        self._telemetry = telemetry
        self.open = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """The method's handler, without (de)serialisers."""
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self.process)
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": method})

    async def process(self, _: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """One stream. Cancelled by grpc when the peer resets it."""

        async def read() -> bytes | None:
            message: Any = await context.read()
            return None if message is grpc.aio.EOF else message

        self.open += 1
        self._telemetry.streams.inc()
        try:
            await self._new_stream().run(read, context.write)
        except BadMessage as bad:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(bad))
        finally:
            self.open -= 1
            self._telemetry.streams.dec()


class Health:
    """grpc.health.v1 for every name that gateways and charts ask for."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()

    async def set(self, *, ready: bool) -> None:
        """`liveness` is serving while the process answers at all; the rest follows readiness."""
        states = health_pb2.HealthCheckResponse
        for name in HEALTH_NAMES:
            serving = ready or name == "liveness"
            await self.servicer.set(name, states.SERVING if serving else states.NOT_SERVING)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve health on this server."""
        health_pb2_grpc.add_HealthServicer_to_server(self.servicer, server)


def listen(address: str, *services: Callable[[grpc.aio.Server], None]) -> tuple[grpc.aio.Server, int]:
    """A server bound to `address` but not started, and its port. Raises OSError when it cannot be bound."""
    server = grpc.aio.server(options=OPTIONS)
    for add in services:
        add(server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as refused:
        raise OSError(f"cannot listen on {address}: is the port taken?") from refused
    return server, port
