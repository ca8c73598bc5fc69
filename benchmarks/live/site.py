"""One Envoy with one picker or with none, or another router with or without an Envoy, in front of the model servers.

Everything listens on loopback.

Must stay true: whatever happens, leaving a site ends every process it started.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.live.fleet import Fleet
from benchmarks.live.process import last_words, started
from benchmarks.live.target import Target
from benchmarks.rivals.rival import Entry, Place
from epp.cli.envoy import TELLS_SERVED_SINCE, EnvoyPlan, Wiring, envoy_config, envoy_version, find_envoy
from epp.cli.stack import StartError, end, free_ports

START_S = 30.0
RIVAL_START_S = 90.0
POLL_S = 0.05
PATH = "/v1/chat/completions"
ENVOY_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Chain:
    """What stands between client and model servers: our own picker with these flags, the one at `address`, another
    router (`rival`), or an Envoy alone."""

    name: str
    wiring: Wiring
    flags: Sequence[str] | None = None
    module: str = "epp"
    """What our own picker is started as."""
    address: str | None = None
    pid: int | None = None
    rival: Entry | None = None
    front: bool = True
    """Whether an Envoy is there; before a rival there need not be one."""


@asynccontextmanager
async def site(chain: Chain, fleet: Fleet, folder: Path) -> AsyncIterator[Target]:
    """A chain that has answered a request. Raises StartError."""
    children: list[subprocess.Popen[bytes]] = []
    metrics = page = None
    servers = fleet.addresses
    try:
        address, pid = chain.address, chain.pid
        if chain.rival is not None:
            port, metrics_port = free_ports(2)
            place = Place(servers, fleet.model, port, metrics_port, folder)
            rival = started(chain.rival.command(place), folder / "rival.log")
            children.append(rival)
            log, name = folder / "rival.log", chain.rival.rival.name
            await _until(_uses_all(chain.rival, place), name, rival, log, RIVAL_START_S)
            servers, pid = [f"127.0.0.1:{place.port}"], rival.pid
            if not chain.front:
                target = Target(chain.name, ("127.0.0.1", place.port), PATH, "bench", picker=pid)
                await _answers(target, fleet.model, chain)
                yield target
                return
        if address is not None:
            await _listens(address)
        if chain.flags is not None:
            grpc, health, metrics, admin = free_ports(4)
            page = admin
            picker = _onehop(chain, fleet, folder, (grpc, health, metrics, admin))
            children.append(picker)
            address, pid = f"127.0.0.1:{grpc}", picker.pid
            await _until(_knows(fleet, admin), "OneHop", picker, folder / "onehop.log")
        port, admin_port = free_ports(2)
        pools = {fleet.model: servers}
        envoy = _envoy(chain, pools, address, (port, admin_port), folder)
        children.append(envoy)
        ready = f"http://127.0.0.1:{admin_port}/ready"
        await _until(lambda: "LIVE" in _get(ready), "Envoy", envoy, folder / "envoy.out")
        target = Target(chain.name, ("127.0.0.1", port), PATH, "bench", ext_proc=address is not None)
        target = replace(target, envoy=envoy.pid, picker=pid, admin=admin_port, metrics=metrics, page=page)
        await _answers(target, fleet.model, chain)
        yield target
    finally:
        for child in reversed(children):
            await end(child)


def _onehop(chain: Chain, fleet: Fleet, folder: Path, ports: tuple[int, int, int, int]) -> subprocess.Popen[bytes]:
    """OneHop as its own process, on the ports of ext_proc, health, metrics and administration."""
    grpc, health, metrics, admin = ports
    hosts = [address.rpartition(":") for address in fleet.addresses]
    rows = [{"name": f"pod-{n}", "address": host, "port": int(port)} for n, (host, _, port) in enumerate(hosts)]
    (folder / "endpoints.json").write_text(json.dumps({"endpoints": rows}))
    command = [sys.executable, "-m", chain.module, "serve", f"--discovery-file={folder / 'endpoints.json'}"]
    command += ["--bind-address=127.0.0.1", f"--grpc-port={grpc}", f"--grpc-health-port={health}", "-v=1"]
    command += [f"--metrics-port={metrics}", f"--admin-address=127.0.0.1:{admin}", "--secure-serving=false"]
    command += ["--drain-timeout=1s", "--drain-notice=0s", *(chain.flags or ())]
    return started(command, folder / "onehop.log")


def _uses_all(entry: Entry, place: Place) -> Callable[[], bool]:
    """Whether another router says that it has all servers to choose from."""

    def used() -> bool:
        page = _get(f"http://127.0.0.1:{place.port}{entry.rival.ready_path}")
        with suppress(ValueError):
            return bool(page) and entry.rival.ready(page, len(place.workers))
        return False

    return used


def _envoy(
    chain: Chain, pools: Mapping[str, Sequence[str]], picker: str | None, ports: tuple[int, int], folder: Path
) -> subprocess.Popen[bytes]:
    """Envoy on the ports of its listener and of its administration."""
    binary = find_envoy()
    config = _config(chain, pools, picker, ports, envoy_version(binary) >= TELLS_SERVED_SINCE)
    (folder / "envoy.json").write_text(json.dumps(config))
    command = [binary, "--config-path", str(folder / "envoy.json"), "--log-path", str(folder / "envoy.log")]
    command += ["--log-level", "error", "--concurrency", str(ENVOY_WORKERS), "--disable-hot-restart"]
    return started(command, folder / "envoy.out")


def _knows(fleet: Fleet, admin: int) -> Callable[[], bool]:
    """Whether OneHop has heard from every server what it serves."""

    def known() -> bool:
        text = _get(f"http://127.0.0.1:{admin}/debug/pools")
        pools = json.loads(text)["pools"] if text else []
        endpoints = [endpoint for pool in pools for endpoint in pool["endpoints"]]
        return len(endpoints) == len(fleet.addresses) and all(endpoint["models"] for endpoint in endpoints)

    return known


def _config(
    chain: Chain,
    pools: Mapping[str, Sequence[str]],
    picker: str | None,
    ports: tuple[int, int],
    tells_served: bool,
) -> dict[str, Any]:
    """The quickstart's Envoy, without health checks (not every picker has them), or without any picker at all."""
    plan = EnvoyPlan(
        *ports,
        picker or "127.0.0.1:1",
        pools,
        next(iter(pools)),
        chain.wiring,
        failure_mode_allow=False,
        tells_served=tells_served,
    )
    config = envoy_config(plan)
    resources = config["static_resources"]
    for cluster in resources["clusters"]:
        cluster.pop("health_checks", None)
    if picker is None:
        resources["clusters"] = [cluster for cluster in resources["clusters"] if cluster["name"] != "onehop"]
        for listener in resources["listeners"]:
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            manager["http_filters"] = manager["http_filters"][-1:]
    return config


async def _listens(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(START_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:
        raise StartError(f"there is no picker at {address}: {error.strerror or error}") from None
    writer.close()


async def _answers(target: Target, model: str, chain: Chain) -> None:
    """The first answer that is a success: a picker that was here before has only now got servers to find."""
    ends = asyncio.get_running_loop().time() + (START_S if chain.address else START_S / 2)
    while (status := await asyncio.to_thread(_ask, target, model)) != 200:
        if asyncio.get_running_loop().time() > ends:
            where = f"the picker at {chain.address}" if chain.address else f"the chain {chain.name!r}"
            raise StartError(
                f"a request through {where} gets {status or 'no answer'}, not 200; is it an ext_proc server over "
                "plaintext, and does it know the replicas? (--replica-port makes their addresses known beforehand)"
            )
        await asyncio.sleep(POLL_S * 4)


def _ask(target: Target, model: str) -> int:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1})
    connection = http.client.HTTPConnection(*target.address, timeout=5)
    try:
        connection.request("POST", target.path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


async def _until(
    ready: Callable[[], bool], what: str, process: subprocess.Popen[bytes], log: Path, seconds: float = START_S
) -> None:
    ends = asyncio.get_running_loop().time() + seconds
    while not await asyncio.to_thread(ready):
        if process.poll() is not None:
            raise StartError(f"{what} stopped at once (exit code {process.returncode}): {last_words(log)}")
        if asyncio.get_running_loop().time() > ends:
            raise StartError(f"{what} was not ready in {seconds:.0f} s: {last_words(log)}")
        await asyncio.sleep(POLL_S)


def ext_proc_counter(target: Target, ending: str) -> int:
    """One of Envoy's ext_proc counters, by the end of its name, all added up."""
    if target.admin is None:
        return 0
    lines = _get(f"http://127.0.0.1:{target.admin}/stats?filter=ext_proc").splitlines()
    found = (line.rsplit(": ", 1) for line in lines if ": " in line)
    return sum(int(value) for name, value in found if name.endswith(ending) and value.isdigit())


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            text: Any = answer.read()
            return str(text.decode())
    except (OSError, http.client.HTTPException):
        return ""
