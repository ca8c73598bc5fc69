"""A whole OneHop on this machine: simulated model servers in this process, OneHop and Envoy as children.

Used by the quickstart and by the end-to-end tests. Everything listens on loopback. Must stay true: whatever happens,
leaving the stack ends every process it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from benchmarks.simulator.fleet import ReplicaSpec, SimulatedFleet
from epp.cli.envoy import EnvoyPlan, Wiring, start_envoy
from epp.domain import ConfigError

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0
POLL_S = 0.05
PORTS = range(20_000, 32_000)
"""Below what the kernel gives to connections by itself: nobody is given a port of ours before its server has it."""
_places = itertools.count(Random().randrange(len(PORTS)))


class StartError(Exception):
    """A part did not come up; the message says which and shows its last words."""


@dataclass(slots=True)
class StackPlan:
    """What to start: `models` maps a model to the names its servers answer to; port 0 is any free one.

    `envoy` is the binary to run, if not the one that is installed.
    """

    models: dict[str, tuple[str, ...]]
    replicas: int
    folder: Path
    semantic_config: Path | None
    port: int = 0
    wiring: Wiring = "buffered"
    eager: bool = False
    failure_mode_allow: bool = True
    default_model: str = ""
    time_factor: float = 1.0
    keepalive_s: float = 1.0
    message_timeout_s: float = 2.0
    message_timeout_s_max: float = 30.0
    envoy: str | None = None
    serve_flags: Sequence[str] = field(default_factory=list)


class Stack:
    """The running parts and how to reach them."""

    def __init__(self, plan: StackPlan, fleet: SimulatedFleet) -> None:
        self.plan = plan
        self.fleet = fleet
        grpc, health, metrics, admin, envoy, envoy_admin = free_ports(6)
        self.grpc_port, self.health_port, self.metrics_port, self.admin_port = grpc, health, metrics, admin
        self.port, self.envoy_admin_port = plan.port or envoy, envoy_admin
        self.onehop: subprocess.Popen[bytes] | None = None
        self.envoy: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients send their requests."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """Where OneHop says why."""
        return f"http://127.0.0.1:{self.admin_port}"

    def pools(self) -> dict[str, list[str]]:
        """Model -> addresses of its servers."""
        return {
            model: [f"{r.address}:{r.port}" for r in self.fleet.replicas if r.spec.models[0] == model]
            for model in self.plan.models
        }

    def write_discovery(self) -> Path:
        """The discovery file of the whole fleet."""
        path = self.plan.folder / "endpoints.json"
        rows = [{"name": r.name, "address": r.address, "port": r.port} for r in self.fleet.replicas]
        path.write_text(json.dumps({"endpoints": rows}, indent=1))
        return path

    def source(self) -> str:
        """The flag that says where the endpoints are listed."""
        return f"--discovery-file={self.write_discovery()}"

    def start_onehop(self) -> None:
        """`onehop serve` with this stack's files and ports."""
        flags = [
            self.source(),
            "--bind-address=127.0.0.1",
            f"--grpc-port={self.grpc_port}",
            f"--grpc-health-port={self.health_port}",
            f"--metrics-port={self.metrics_port}",
            f"--admin-address=127.0.0.1:{self.admin_port}",
            "--secure-serving=false",
            "--drain-timeout=2s",
            "--drain-notice=0s",
            f"--message-timeout={self.plan.message_timeout_s}s",
            f"--max-message-timeout={self.plan.message_timeout_s_max}s",
        ]
        if self.plan.semantic_config is not None:
            flags.append(f"--semantic-config-file={self.plan.semantic_config}")
        command = [sys.executable, "-m", "epp", "serve", *flags, *self.plan.serve_flags]
        with (self.plan.folder / "onehop.log").open("ab") as output:
            self.onehop = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def start_envoy(self) -> None:
        """Envoy in front of the fleet."""
        plan = EnvoyPlan(
            port=self.port,
            admin_port=self.envoy_admin_port,
            ext_proc=f"127.0.0.1:{self.grpc_port}",
            pools=self.pools(),
            default=self.plan.default_model or next(iter(self.plan.models)),
            wiring=self.plan.wiring,
            eager=self.plan.eager,
            failure_mode_allow=self.plan.failure_mode_allow,
            keepalive_s=self.plan.keepalive_s,
            message_timeout_s=self.plan.message_timeout_s,
            message_timeout_s_max=self.plan.message_timeout_s_max,
        )
        self.envoy = start_envoy(plan, self.plan.folder, self.plan.envoy)

    async def onehop_ready(self, http: aiohttp.ClientSession) -> None:
        """OneHop answers, and has heard from every endpoint what it serves."""

        async def ready() -> bool:
            async with http.get(f"{self.admin_url}/debug/pools") as answer:
                endpoints = [endpoint for pool in (await answer.json())["pools"] for endpoint in pool["endpoints"]]
                return all(e["models"] is not None for e in endpoints)

        await self._wait("OneHop", "onehop.log", self.onehop, ready)

    async def envoy_ready(self, http: aiohttp.ClientSession) -> None:
        """Envoy listens, and its health check has found OneHop."""
        healthy = f"onehop::127.0.0.1:{self.grpc_port}::health_flags::healthy"

        async def ready() -> bool:
            async with http.get(f"http://127.0.0.1:{self.envoy_admin_port}/clusters") as answer:
                return healthy in await answer.text()

        await self._wait("Envoy", "envoy.log", self.envoy, ready)

    async def _wait(self, what: str, log: str, process: subprocess.Popen[bytes] | None, ready: Any) -> None:
        ends = asyncio.get_running_loop().time() + START_SECONDS_MAX
        while asyncio.get_running_loop().time() < ends:
            if process is not None and process.poll() is not None:
                raise StartError(f"{what} stopped at once (exit code {process.returncode}): {self._last_words(log)}")
            with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError, KeyError, ValueError):
                if await ready():
                    return
            await asyncio.sleep(POLL_S)
        raise StartError(f"{what} was not ready in {START_SECONDS_MAX:.0f} s: {self._last_words(log)}")

    def _last_words(self, log: str) -> str:
        texts = [self.plan.folder / log, (self.plan.folder / log).with_suffix(".out")]
        lines = [line for path in texts if path.exists() for line in path.read_text(errors="replace").splitlines()]
        return " | ".join(line.strip() for line in lines[-3:] if line.strip()) or "it said nothing"


@asynccontextmanager
async def running(plan: StackPlan) -> AsyncIterator[Stack]:
    """Start replicas, OneHop and Envoy; ready when entered, gone when left."""
    if plan.port:
        _check_free(plan.port)
    async with AsyncExitStack() as closing:
        fleet = await closing.enter_async_context(SimulatedFleet(_replicas(plan), time_factor=plan.time_factor))
        stack = Stack(plan, fleet)
        closing.push_async_callback(_end_children, stack)
        http = await closing.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)))
        stack.start_onehop()
        await stack.onehop_ready(http)
        stack.start_envoy()
        await stack.envoy_ready(http)
        yield stack


async def end(process: subprocess.Popen[bytes] | None) -> None:
    """Ask a child to stop; insist if it does not."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)


def free_ports(count: int) -> list[int]:
    """Ports that are free now on 127.0.0.1, of which none was given before. Raises `OSError` where there are none."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for place in itertools.islice(_places, len(PORTS)):
            port = PORTS[place % len(PORTS)]
            with contextlib.suppress(OSError):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise OSError(errno.EADDRINUSE, "no port is free on 127.0.0.1")


async def _end_children(stack: Stack) -> None:
    await end(stack.envoy)
    await end(stack.onehop)


def _replicas(plan: StackPlan) -> list[ReplicaSpec]:
    """Each replica on a loopback address of its own where the platform has them, as pods have."""
    own_address = sys.platform == "linux"
    names = [(model, number) for model in plan.models for number in range(plan.replicas)]
    return [
        ReplicaSpec(
            name=f"{model}-{number}",
            models=plan.models[model],
            address=f"127.0.0.{11 + position}" if own_address and position < 200 else "127.0.0.1",
            port=0,
        )
        for position, (model, number) in enumerate(names)
    ]


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as taken:
            why = "is taken" if taken.errno == errno.EADDRINUSE else os.strerror(taken.errno or 0)
            raise ConfigError("--port", f"port {port} {why}; choose another with --port") from None
