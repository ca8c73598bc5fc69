"""One simulated replica that listens, stops, dies and comes back."""

import asyncio
import errno
import os
import socket

from aiohttp import web

from benchmarks.simulator.driver import Driver
from benchmarks.simulator.replica import Replica
from benchmarks.simulator.server import ReplicaServer
from benchmarks.simulator.spec import ReplicaSpec

BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted."""
DRAIN_SECONDS_MAX = 30.0
"""How long `stop` waits for open answers, in real time."""

ACCEPT_TURNS = 4
"""Turns of the event loop until a connection that was just accepted has its transport and its handler."""

LOOP_TURNS_MAX = 100
"""Turns of the event loop that `kill` gives handlers to hear that their connection is gone; they need one or two."""


class FleetError(Exception):
    """A replica cannot start, and why."""


class SimulatedReplica:
    """A member of a fleet. Counts go on over restarts; the engine and its cache start anew."""

    def __init__(self, spec: ReplicaSpec, time_factor: float) -> None:
        self.spec = spec
        self.port = spec.port
        """Where it listens, also while it is down; 0 before the first start if the spec leaves it open."""
        self._time_factor = time_factor
        self._server: ReplicaServer | None = None
        self._runner: web.AppRunner | None = None
        self._seen_before = 0
        self._slowdown = 1.0
        self._trouble: int | None = None

    @property
    def name(self) -> str:
        """The name in the spec."""
        return self.spec.name

    @property
    def address(self) -> str:
        """The IP address, up or down."""
        return self.spec.address

    @property
    def url(self) -> str:
        """The root of its URLs, without a slash at the end."""
        return f"http://{self.address}:{self.port}"

    @property
    def up(self) -> bool:
        """Whether it listens."""
        return self._runner is not None

    @property
    def requests_seen(self) -> int:
        """Completions asked for since the fleet was made, refused ones included."""
        return self._seen_before + (self._server.requests_seen if self._server else 0)

    @property
    def in_flight(self) -> int:
        """Completions being answered."""
        return self._server.in_flight if self._server else 0

    @property
    def driver(self) -> Driver:
        """The clock of the engine (`pause`, `resume`, `behind_seconds`); `driver.replica` is the model itself."""
        assert self._server is not None, f"replica {self.name} was never started"
        return self._server.driver

    @property
    def slowdown(self) -> float:
        """Factor on the duration of its steps; set it above 1 to play a slow node. It survives restarts."""
        return self._slowdown

    @slowdown.setter
    def slowdown(self, factor: float) -> None:
        self._slowdown = factor
        if self._server is not None:
            self._server.driver.replica.slowdown = factor

    @property
    def trouble(self) -> int | None:
        """What its completions end with while its other paths go on; as in `ReplicaServer`. It survives restarts."""
        return self._trouble

    @trouble.setter
    def trouble(self, status: int | None) -> None:
        self._trouble = status
        if self._server is not None:
            self._server.trouble = status

    async def start(self) -> None:
        """Listen, with a cold engine; raise `FleetError` where that is not possible."""
        assert not self.up, f"replica {self.name} is up"
        listener = self._listen()
        self.port = listener.getsockname()[1]
        self._seen_before = self.requests_seen
        replica = Replica(self.spec.config())
        replica.slowdown = self._slowdown
        self._server = ReplicaServer(self.spec, Driver(replica, self._time_factor))
        self._server.trouble = self._trouble
        # A client that leaves cancels its handler, which aborts its request.
        self._runner = web.AppRunner(
            self._server.application(),
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=DRAIN_SECONDS_MAX,
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=BACKLOG).start()

    async def stop(self) -> None:
        """Stop listening, let open answers end, close."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            self.driver.close()

    async def kill(self) -> None:
        """Drop the listening socket and every open connection at once, as a process that died."""
        runner, self._runner = self._runner, None
        if runner is None or runner.server is None:
            return
        self.driver.close()
        for site in runner.sites:
            await site.stop()
        for _ in range(ACCEPT_TURNS):
            await asyncio.sleep(0)
        for connection in runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        for _ in range(LOOP_TURNS_MAX):
            if not runner.server.connections:
                break
            await asyncio.sleep(0)
        await runner.cleanup()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.address, self.port))
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            raise FleetError(
                f"replica {self.name}: cannot listen on {self.address}:{self.port}: {_say(error)}"
            ) from error
        return listener


def _say(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken; choose another, or 0 for any free one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; use 127.0.0.1 with a port for each replica"
    return error.strerror or str(error)
