"""Both transports, for tests that must hold over either."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from epp.edge import tls
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.server import NativeServer
from epp.edge.methods import DEFAULT_LIMITS, Limits, Methods, Server
from epp.edge.server import GrpcServer, credentials

TRANSPORTS = ("grpc", "native")


def listen(
    transport: str,
    methods: Methods,
    *,
    address: str = "127.0.0.1:0",
    pair: Callable[[], tls.Pair] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Server:
    """A server that is bound and not started."""
    if transport == "grpc":
        return GrpcServer(address, methods, tls=credentials(pair) if pair is not None else None, limits=limits)
    bounds = Http2Limits(limits.receive_bytes_max, limits.send_bytes_max, limits.streams_max)
    return NativeServer(address, methods, limits=bounds, contexts=tls.Contexts(pair) if pair is not None else None)


@asynccontextmanager
async def served(
    transport: str,
    methods: Methods,
    *,
    pair: Callable[[], tls.Pair] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncIterator[int]:
    """The port of a running server."""
    server = listen(transport, methods, pair=pair, limits=limits)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop(None)
