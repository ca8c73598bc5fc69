"""A real Prometheus that reads one address, with the chart's rules, and what it answers."""

from __future__ import annotations

import asyncio
import contextlib
import math
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from epp.cli.stack import end, free_ports

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not on PATH (`make kube-assets` builds one): no query is run"
)
SCRAPE_S = 0.5
START_S = 30.0
LABELS = {"namespace": "llm", "pod": "onehop-0"}  # what the Prometheus operator would add


@dataclass
class Prometheus:
    """`began` is when it started, by the time of day."""

    url: str
    http: aiohttp.ClientSession
    began: float

    async def ask(self, path: str, **parameters: str) -> Any:
        async with self.http.get(f"{self.url}/api/v1/{path}", params=parameters) as answer:
            told = await answer.json()
            assert told["status"] == "success", f"{parameters}: {told}"
            return told["data"]

    async def now(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = (await self.ask("query", query=expression))["result"]
        return found

    async def values(self, expression: str) -> list[float]:
        """Every number that the expression had at any second of the run."""
        span = {"start": str(self.began), "end": str(time.time()), "step": "1s"}
        result = (await self.ask("query_range", query=expression, **span))["result"]
        return [float(value) for series in result for _, value in series["values"] if math.isfinite(float(value))]

    async def until(self, expression: str) -> list[dict[str, Any]]:
        """Its series, once there are any."""
        async with asyncio.timeout(START_S):
            while not (found := await self.now(expression)):
                await asyncio.sleep(SCRAPE_S)
        return found


@contextlib.asynccontextmanager
async def watching(target: str, rules: list[Path], folder: Path) -> AsyncIterator[Prometheus]:
    assert PROMETHEUS is not None
    (port,) = free_ports(1)
    config = {
        "global": {"scrape_interval": f"{int(SCRAPE_S * 1000)}ms", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [{"job_name": "onehop", "static_configs": [{"targets": [target], "labels": LABELS}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [PROMETHEUS, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    process = _started(command, folder / "prometheus.log")
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
            prometheus = Prometheus(f"http://127.0.0.1:{port}", http, time.time())
            await _ready(prometheus, process, folder)
            yield prometheus
    finally:
        await end(process)


def _started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


async def _ready(prometheus: Prometheus, process: subprocess.Popen[bytes], folder: Path) -> None:
    async with asyncio.timeout(START_S):
        while True:
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            with contextlib.suppress(aiohttp.ClientError):
                async with prometheus.http.get(f"{prometheus.url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
