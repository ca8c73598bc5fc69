"""The model servers of a run, one process for all of them, each on a loopback address of its own as pods have."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.live import upstream
from benchmarks.live.process import last_words, started
from benchmarks.sim.fleet import FleetSpec
from epp.cli.stack import StartError, end, free_ports

START_S = 30.0
POLL_S = 0.05
FIRST_HOST = 11
REPLICAS_MAX = 64


@dataclass(frozen=True, slots=True)
class Simulated:
    """Replicas that take as long as the GPU model says, times `time_factor`."""

    spec: FleetSpec
    time_factor: float
    adapters: Sequence[str] = ()

    @property
    def model(self) -> str:
        """What they answer to."""
        return self.spec.model

    @property
    def replicas(self) -> int:
        """How many."""
        return len(self.spec.replicas)

    def command(self, addresses: Sequence[str]) -> list[str]:
        """The process that plays them."""
        command = [sys.executable, "-m", "benchmarks.simulator", f"--time-factor={self.time_factor}"]
        adapters = f",adapters={'+'.join(self.adapters)}" if self.adapters else ""
        for number, (address, kind) in enumerate(zip(addresses, self.spec.replicas, strict=True)):
            host, _, port = address.rpartition(":")
            model = self.spec.model_of(kind)
            name = f"name=replica-{number},models={model},profile={model},gpu={kind.gpu}"
            command += ["--replica", f"{name},address={host},port={port}{adapters}"]
        return command

    def describe(self) -> str:
        """For a report."""
        kinds = ", ".join(f"{kind.count} x {kind.gpu}" for kind in self.spec.kinds)
        return f"simulated {self.model} on {kinds}, time factor {self.time_factor:g}"


@dataclass(frozen=True, slots=True)
class Instant:
    """Servers that answer at once, or a token every few milliseconds, and cost next to nothing."""

    replicas: int
    model: str = upstream.MODEL

    def command(self, addresses: Sequence[str]) -> list[str]:
        """The process that plays them."""
        return [sys.executable, "-m", "benchmarks.live.upstream", *addresses]

    def describe(self) -> str:
        """For a report."""
        return f"{self.replicas} servers that answer at once"


Kind = Simulated | Instant


@dataclass(frozen=True, slots=True)
class Fleet:
    """Where they are."""

    model: str
    addresses: Sequence[str]
    pid: int


@asynccontextmanager
async def running(kind: Kind, port: int, folder: Path) -> AsyncIterator[Fleet]:
    """Up when entered, gone when left; on that port, or on any with 0. Raises StartError."""
    port = port or free_ports(1)[0]
    addresses = [f"127.0.0.{FIRST_HOST + number}:{port}" for number in range(kind.replicas)]
    process = started(kind.command(addresses), folder / "servers.log")
    try:
        for address in addresses:
            await _listening(address, process.poll, folder / "servers.log")
        yield Fleet(kind.model, addresses, process.pid)
    finally:
        await end(process)


async def _listening(address: str, ended: object, log: Path) -> None:
    host, _, port = address.rpartition(":")
    ends = asyncio.get_running_loop().time() + START_S
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            if callable(ended) and ended() is not None:
                raise StartError(f"the model servers stopped at once: {last_words(log)}") from None
            if asyncio.get_running_loop().time() > ends:
                raise StartError(f"no model server at {address} in {START_S:.0f} s: {last_words(log)}") from None
            await asyncio.sleep(POLL_S)
        else:
            writer.close()
            return
