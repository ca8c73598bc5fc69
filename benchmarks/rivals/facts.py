"""What each answers when something goes wrong: status, body and headers, to one client before three simulated servers.

Facts, not timings: a question is put to each chain in turn, on servers of its own, and what comes back is told as it
came. `conditions` has the questions.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.live.fleet import Fleet
from benchmarks.live.site import Chain, site
from benchmarks.live.target import Target
from benchmarks.rivals.conditions import CONDITIONS, Scene
from benchmarks.simulator.fleet import ReplicaSpec, SimulatedFleet
from epp.cli.stack import StartError, free_ports

REPLICAS, FIRST_HOST = 3, 91
MODEL = "llama3-8b"
SEQUENCES_MAX = 8
"""At once in a server, so that three of them are soon full."""
TIME_FACTOR = 0.5
ASKING_S = 60.0
logging.getLogger("aiohttp.server").setLevel(
    logging.CRITICAL
)  # a rival greets its servers in HTTP/2 to see if they can


@dataclass(frozen=True, slots=True)
class Fact:
    """What one chain did in one condition."""

    condition: str
    target: str
    answer: str


async def facts(chains: Sequence[Chain], only: str = "") -> list[Fact]:
    """Every condition for each chain, the chains side by side; one that cannot start says so in its place."""
    return [fact for found in await asyncio.gather(*(_of(chain, only) for chain in chains)) for fact in found]


async def _of(chain: Chain, only: str) -> list[Fact]:
    found = []
    chosen = [condition for condition in CONDITIONS if only in condition.name]
    harmless = [condition for condition in chosen if not condition.spoils]
    shared = [harmless] if harmless else []
    for group in [*shared, *([condition] for condition in chosen if condition.spoils)]:
        try:
            async with _scene(chain) as scene:
                for condition in group:
                    found.append(Fact(condition.name, chain.name, await condition.play(scene)))
        except StartError as wrong:
            found.append(Fact(group[0].name, chain.name, f"did not start: {wrong}"))
    return found


@asynccontextmanager
async def _scene(chain: Chain) -> AsyncIterator[Scene]:
    (port,) = free_ports(1)
    hosts = [f"127.0.0.{FIRST_HOST + n}" for n in range(REPLICAS)]
    specs = [
        ReplicaSpec(f"replica-{n}", (MODEL,), host, port, sequences_max=SEQUENCES_MAX) for n, host in enumerate(hosts)
    ]
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=ASKING_S)
    with tempfile.TemporaryDirectory(prefix="onehop-rivals-") as folder:
        async with SimulatedFleet(specs, time_factor=TIME_FACTOR) as servers:
            fleet = Fleet(MODEL, [f"{host}:{port}" for host in hosts], os.getpid())
            async with (
                site(chain, fleet, Path(folder)) as target,
                aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
            ):
                yield Scene(_url(target), MODEL, http, servers)


def _url(target: Target) -> str:
    host, port = target.address
    return f"http://{host}:{port}{target.path}"
