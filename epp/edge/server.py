"""The grpcio transport: methods on a port, plaintext or TLS, by `grpc.aio`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import groupby
from typing import Any

import grpc

from epp.edge.methods import DEFAULT_LIMITS, Disconnected, Limits, Method, Methods
from epp.edge.status import Failed
from epp.edge.tls import Pair

log = logging.getLogger(__name__)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcServer:
    """A server bound to `address`. Raises OSError when it cannot be bound."""

    def __init__(
        self,
        address: str,
        methods: Methods,
        *,
        tls: grpc.ServerCredentials | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._server = grpc.aio.server(options=_options(limits))
        self._server.add_generic_rpc_handlers(tuple(_handlers(methods)))
        try:
            self.port: int = (
                self._server.add_insecure_port(address) if tls is None else self._server.add_secure_port(address, tls)
            )
        except RuntimeError as refused:
            raise OSError(f"cannot listen on {address}: is the port taken?") from refused

    async def start(self) -> None:
        """Serve."""
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """GOAWAY: connections take no new streams; those that are open have `grace` seconds, or none."""
        await self._server.stop(grace)


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
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


def _handlers(methods: Methods) -> list[grpc.GenericRpcHandler]:
    """Without (de)serialisers, and every method as a stream of messages: on the wire there is no other."""
    by_service = groupby(sorted(methods), key=lambda path: path.split("/")[1])
    return [
        grpc.method_handlers_generic_handler(service, {path.split("/")[2]: _handler(methods[path]) for path in paths})
        for service, paths in by_service
    ]


def _handler(method: Method) -> Any:
    async def serve(_: Any, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        await call(method, context)

    made: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(serve)
    return made


async def call(method: Method, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    """One call of a method. Cancelled by grpc when the peer resets it."""

    async def read() -> bytes | None:
        message: Any = await context.read()
        return None if message is grpc.aio.EOF else message

    async def write(message: bytes) -> None:
        try:
            await context.write(message)
        except grpc.aio.InternalError as gone:  # the peer has reset the stream, we have not heard of it yet
            raise Disconnected from gone

    try:
        await method(read, write)
    except Failed as failed:
        await context.abort(_CODES[failed.code], failed.text)
    except Disconnected:
        return  # nobody hears how it ends
    except Exception as surprise:  # gRPC would log and tell its text, which may hold what a client said
        log.error("surprise %s ended a call", type(surprise).__name__)
        await context.abort(grpc.StatusCode.UNKNOWN, type(surprise).__name__)


def credentials(current: Callable[[], Pair]) -> grpc.ServerCredentials:
    """Credentials that ask for the current pair at each handshake; ALPN is gRPC's own, `h2`."""
    served = current()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        # On a thread of gRPC's; None keeps what it has.
        nonlocal served
        pair = current()
        if pair is served:
            return None
        served = pair
        return _configuration(pair)

    return grpc.dynamic_ssl_server_credentials(_configuration(served), changed)  # type: ignore[arg-type]  # None is fine


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)])
