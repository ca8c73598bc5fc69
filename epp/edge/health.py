"""grpc.health.v1 for every name that gateways and charts ask for: Check, List and Watch.

Must stay true: `liveness` is serving while the process answers at all, every other name follows readiness, and a name
nobody serves is NOT_FOUND to Check and SERVICE_UNKNOWN to Watch.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

EXT_PROC = "envoy.service.ext_proc.v3.ExternalProcessor"
HEALTH_NAMES = ("", "inference-extension", "liveness", "readiness", EXT_PROC)

_Context = grpc.aio.ServicerContext[Any, Any]
_State = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """The health of this process; not ready until told so."""

    def __init__(self) -> None:
        self._ready = False
        self._closed = False
        self._changed = asyncio.Event()

    def set(self, *, ready: bool) -> None:
        """Change readiness; who watches hears of it."""
        self._ready = ready
        self._tell()

    def close(self) -> None:
        """End the watches, which would hold up a server that waits for its calls to end."""
        self._closed = True
        self._tell()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve health on this server."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: _Context) -> _State:  # noqa: N802  # gRPC's
        """The state of one name."""
        if request.service not in HEALTH_NAMES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service '{request.service}' is known here")
        return self._state(request.service)

    async def List(self, _: Any, context: _Context) -> Any:  # noqa: N802
        """The states of all names."""
        answer: Any = health_pb2.HealthListResponse()  # type: ignore[attr-defined]  # newer than the type stubs
        for name in HEALTH_NAMES:
            answer.statuses[name].CopyFrom(self._state(name))
        return answer

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: _Context) -> None:  # noqa: N802
        """The state of one name now and at each change."""
        told = None
        while not self._closed:
            changed, state = self._changed, self._state(request.service)
            if state != told:
                await context.write(state)
                told = state
            await changed.wait()

    def _state(self, name: str) -> _State:
        if name not in HEALTH_NAMES:
            return _State(status=_State.SERVICE_UNKNOWN)
        return _State(status=_State.SERVING if self._ready or name == "liveness" else _State.NOT_SERVING)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
