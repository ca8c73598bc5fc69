"""Several simulated replicas in one process, each on a socket of its own."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from benchmarks.simulator.member import FleetError, SimulatedReplica
from benchmarks.simulator.spec import ReplicaSpec

__all__ = ["FleetError", "ReplicaSpec", "SimulatedFleet", "SimulatedReplica"]


class SimulatedFleet:
    """Replicas that start and end together, and one by one on request.

    >>> async with SimulatedFleet([ReplicaSpec("a", models=("llama3-8b", "auto"))], time_factor=0.1) as fleet:
    ...     print(fleet["a"].url, fleet.replicas[0].requests_seen)
    """

    def __init__(self, specs: Iterable[ReplicaSpec], *, time_factor: float = 1.0) -> None:
        if not time_factor > 0:
            raise ValueError(f"time_factor must be above 0, got {time_factor}")
        self.replicas = [SimulatedReplica(spec, time_factor) for spec in specs]
        self._by_name = {replica.name: replica for replica in self.replicas}
        if len(self._by_name) < len(self.replicas):
            raise ValueError("two replicas have the same name")

    def __getitem__(self, name: str) -> SimulatedReplica:
        return self._by_name[name]

    async def __aenter__(self) -> Self:
        try:
            for replica in self.replicas:
                await replica.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self, name: str) -> None:
        """Start a replica that is down, on the port it had, with a cold cache."""
        await self[name].start()

    async def stop(self, name: str) -> None:
        """Let a replica end what it is doing and close it; new connections are refused."""
        await self[name].stop()

    async def kill(self, name: str) -> None:
        """Drop a replica's sockets at once, in the middle of whatever they carry."""
        await self[name].kill()

    async def close(self) -> None:
        """Kill every replica that is up."""
        for replica in self.replicas:
            await replica.kill()
