"""One Envoy with one picker, or with none, in front of the upstream; everything listens on loopback.

Must stay true: whatever happens, leaving a site ends every process it started.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.hop.upstream import MODEL
from epp.cli.envoy import EnvoyPlan, Wiring, envoy_config, find_envoy
from epp.cli.stack import end, free_ports

ENDPOINTS = 16
START_S = 30.0
POLL_S = 0.05


@dataclass
class Site:
    """Where the clients go, and whose CPU counts.

    `picker` is None, and `metrics_port` 0, where there is none or it is somebody else's.
    """

    name: str
    port: int
    admin_port: int
    envoy: subprocess.Popen[bytes]
    picker: int | None = None
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)
    metrics_port: int = 0

    def stat(self, ending: str) -> int:
        """One of Envoy's counters, by the end of its name, all added up."""
        lines = _get(f"http://127.0.0.1:{self.admin_port}/stats?filter=ext_proc").splitlines()
        found = (line.rsplit(": ", 1) for line in lines if ": " in line)
        return sum(int(value) for name, value in found if name.endswith(ending) and value.isdigit())


@asynccontextmanager
async def upstream() -> AsyncIterator[list[str]]:
    """The addresses of a running upstream."""
    (port,) = free_ports(1)
    addresses = [f"127.0.0.{11 + number}:{port}" for number in range(ENDPOINTS)]
    command = [sys.executable, "-m", "benchmarks.hop.upstream", *addresses]
    process = _started(command)
    try:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        yield addresses
    finally:
        await end(process)


@asynccontextmanager
async def site(
    name: str,
    wiring: Wiring,
    endpoints: Sequence[str],
    folder: Path,
    *,
    address: str | None = None,
    flags: Sequence[str] | None = None,
    pid: int | None = None,
    module: str = "epp",
) -> AsyncIterator[Site]:
    """Envoy with a picker: at `address`, or our own with these flags (started as that `module`), or none."""
    children: list[subprocess.Popen[bytes]] = []
    metrics = 0
    try:
        if flags is not None:
            process, address, metrics = await _onehop(endpoints, folder, flags, module)
            children.append(process)
            pid = process.pid
        port, admin_port = free_ports(2)
        plan = EnvoyPlan(port, admin_port, address or "127.0.0.1:1", {MODEL: endpoints}, MODEL, wiring, False)
        config = _config(plan, has_picker=address is not None)
        (folder / "envoy.json").write_text(json.dumps(config))
        command = [find_envoy(), "--config-path", str(folder / "envoy.json"), "--log-path", str(folder / "envoy.log")]
        command += ["--log-level", "error", "--concurrency", "2", "--disable-hot-restart"]
        envoy = _started(command, folder / "envoy.out")
        children.append(envoy)
        await _until(f"http://127.0.0.1:{admin_port}/ready", "LIVE")
        yield Site(name, port, admin_port, envoy, pid, children, metrics)
    finally:
        for child in reversed(children):
            await end(child)


async def _onehop(
    endpoints: Sequence[str], folder: Path, flags: Sequence[str], module: str
) -> tuple[subprocess.Popen[bytes], str, int]:
    """OneHop as its own process, where it serves, and its metrics' port; ready when it knows all endpoints."""
    grpc, health, metrics, admin = free_ports(4)
    hosts = [address.rpartition(":") for address in endpoints]
    rows = [{"name": f"pod-{n}", "address": host, "port": int(port)} for n, (host, _, port) in enumerate(hosts)]
    (folder / "endpoints.json").write_text(json.dumps({"endpoints": rows}))
    command = [sys.executable, "-m", module, "serve", f"--discovery-file={folder / 'endpoints.json'}"]
    command += ["--bind-address=127.0.0.1", f"--grpc-port={grpc}", f"--grpc-health-port={health}", "-v=1"]
    command += [f"--metrics-port={metrics}", f"--admin-address=127.0.0.1:{admin}", "--secure-serving=false"]
    command += ["--drain-timeout=1s", "--drain-notice=0s", *flags]
    process = _started(command, folder / "onehop.log")
    await _until(f"http://127.0.0.1:{admin}/debug/pools", MODEL, ENDPOINTS)
    return process, f"127.0.0.1:{grpc}", metrics


def _started(command: list[str], output: Path | None = None) -> subprocess.Popen[bytes]:
    """A child; what it says goes to a file, or can be read from it."""
    if output is None:
        return subprocess.Popen(command, stdout=subprocess.PIPE)
    with output.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


def _config(plan: EnvoyPlan, *, has_picker: bool) -> dict[str, Any]:
    """The quickstart's Envoy, without health checks (not every picker has them), or without any picker at all."""
    config = envoy_config(plan)
    resources = config["static_resources"]
    for cluster in resources["clusters"]:
        cluster.pop("health_checks", None)
    if not has_picker:
        resources["clusters"] = [cluster for cluster in resources["clusters"] if cluster["name"] != "onehop"]
        for listener in resources["listeners"]:
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            manager["http_filters"] = manager["http_filters"][-1:]
    return config


async def _until(url: str, word: str, times: int = 1) -> None:
    ends = asyncio.get_running_loop().time() + START_S
    while (await asyncio.to_thread(_get, url)).count(word) < times:
        if asyncio.get_running_loop().time() > ends:
            raise TimeoutError(f"{url} was not ready in {START_S:.0f} s")
        await asyncio.sleep(POLL_S)


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            text: str = answer.read().decode()
            return text
    except (urllib.error.URLError, OSError):
        return ""
