"""grpc.health.v1 for every name that gateways and charts ask for: Check, List and Watch.

Must stay true: `liveness` is serving while the process answers at all, every other name follows readiness, and a name
nobody serves is NOT_FOUND to Check and SERVICE_UNKNOWN to Watch.
"""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from epp.edge.methods import Methods, Read, Write
from epp.edge.status import Code, Failed

EXT_PROC = "envoy.service.ext_proc.v3.ExternalProcessor"
HEALTH_NAMES = ("", "inference-extension", "liveness", "readiness", EXT_PROC)
_HEALTH = "/grpc.health.v1.Health"

_State = health_pb2.HealthCheckResponse


class Health:
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

    def methods(self) -> Methods:
        """What a transport serves."""
        return {f"{_HEALTH}/Check": self._check, f"{_HEALTH}/List": self._list, f"{_HEALTH}/Watch": self._watch}

    async def _check(self, read: Read, write: Write) -> None:
        """The state of one name."""
        name = await _asked(read)
        if name not in HEALTH_NAMES:
            raise Failed(Code.NOT_FOUND, f"no service '{name}' is known here")
        await write(self._state(name).SerializeToString())

    async def _list(self, read: Read, write: Write) -> None:
        """The states of all names."""
        await read()
        answer: Any = health_pb2.HealthListResponse()  # type: ignore[attr-defined]  # newer than the type stubs
        for name in HEALTH_NAMES:
            answer.statuses[name].CopyFrom(self._state(name))
        await write(answer.SerializeToString())

    async def _watch(self, read: Read, write: Write) -> None:
        """The state of one name now and at each change."""
        name, told = await _asked(read), None
        while not self._closed:
            changed, state = self._changed, self._state(name)
            if state != told:
                await write(state.SerializeToString())
                told = state
            await changed.wait()

    def _state(self, name: str) -> _State:
        if name not in HEALTH_NAMES:
            return _State(status=_State.SERVICE_UNKNOWN)
        return _State(status=_State.SERVING if self._ready or name == "liveness" else _State.NOT_SERVING)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _asked(read: Read) -> str:
    """The name in the one message of a request."""
    message = await read()
    if message is None:
        raise Failed(Code.INVALID_ARGUMENT, "a request without a message")
    try:
        return health_pb2.HealthCheckRequest.FromString(message).service
    except DecodeError:
        raise Failed(Code.INVALID_ARGUMENT, "not a HealthCheckRequest") from None
