"""The gRPC servers: ext_proc streams on a port, plaintext or TLS, with the limits of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from epp.edge.health import EXT_PROC
from epp.edge.stream import Defect, Disconnected, Stream
from epp.protocol.codec import BadMessage
from epp.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest message in each direction, and how many streams may be open at once."""

    receive_bytes_max: int = 64 * 2**20  # Envoy sends a whole buffered body in one message
    send_bytes_max: int = 64 * 2**20
    streams_max: int = 40_000


DEFAULT_LIMITS = Limits()


class Processor:
    """`ExternalProcessor/Process` over grpc.aio. Messages stay bytes: the codec is ours."""

    def __init__(
        self, new_stream: Callable[[], Stream], telemetry: Telemetry, streams_max: int = DEFAULT_LIMITS.streams_max
    ) -> None:
        self._new_stream = new_stream
        self._telemetry = telemetry
        self._streams_max = streams_max
        self.open = 0
        self.turned_away = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """The method's handler, without (de)serialisers."""
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self.process)
        return grpc.method_handlers_generic_handler(EXT_PROC, {"Process": method})

    async def process(self, _: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """One stream. Cancelled by grpc when the peer resets it."""

        async def read() -> bytes | None:
            message: Any = await context.read()
            return None if message is grpc.aio.EOF else message

        async def write(message: bytes) -> None:
            try:
                await context.write(message)
            except grpc.aio.InternalError as gone:  # the peer has reset the stream, we have not heard of it yet
                raise Disconnected from gone

        if self.open >= self._streams_max:
            self.turned_away += 1
            self._telemetry.stream_ended("ResourceExhausted", 0.0)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._streams_max} streams are open already")
        self.open += 1
        self._telemetry.streams.inc()
        try:
            await self._new_stream().run(read, write)
        except BadMessage as bad:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(bad))
        except Defect as defect:
            await context.abort(grpc.StatusCode.INTERNAL, str(defect))
        finally:
            self.open -= 1
            self._telemetry.streams.dec()


def listen(
    address: str,
    *services: Callable[[grpc.aio.Server], None],
    tls: grpc.ServerCredentials | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[grpc.aio.Server, int]:
    """A server bound to `address` but not started, and its port. Raises OSError when it cannot be bound."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.receive_bytes_max),
            ("grpc.max_send_message_length", limits.send_bytes_max),
            ("grpc.max_concurrent_streams", limits.streams_max),  # of one connection
            # Streams that came in a burst and that we have not taken yet: gRPC turns them away from 1,000 on by itself.
            ("grpc.server.max_pending_requests", limits.streams_max),
            ("grpc.server.max_pending_requests_hard_limit", limits.streams_max),
            # Gateways ping streams on which nothing is said for minutes; by default gRPC takes the third ping for abuse
            # and closes the connection, which cuts every answer under way.
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.so_reuseport", 0),  # a taken port is an error, not a silent share
        ]
    )
    for add in services:
        add(server)
    try:
        port = server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls)
    except RuntimeError as refused:
        raise OSError(f"cannot listen on {address}: is the port taken?") from refused
    return server, port
