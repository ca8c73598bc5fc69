"""OneHops, an Envoy with any configuration, and a client of it; whatever happens, leaving ends every process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp

from epp.cli.envoy import find_envoy
from epp.cli.stack import end, free_ports
from tests.e2e.client import Answer
from tests.guide.replica import Replica, serving

PATIENCE_S = 60.0
POLL_S = 0.03
Json = dict[str, Any]


@dataclass(slots=True)
class OneHop:
    """One `onehop serve` and where it listens; `flags` say where its endpoints come from."""

    name: str
    folder: Path
    flags: Sequence[str]
    environment: Mapping[str, str] | None = None
    ports: list[int] = field(default_factory=lambda: free_ports(4))
    process: subprocess.Popen[bytes] | None = None

    @property
    def ext_proc(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def health(self) -> str:
        return f"127.0.0.1:{self.ports[1]}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[2]}/metrics"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[3]}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """The process, on the ports it had."""
        grpc, health, metrics, admin = self.ports
        flags = [
            "--bind-address=127.0.0.1",
            f"--grpc-port={grpc}",
            f"--grpc-health-port={health}",
            f"--metrics-port={metrics}",
            f"--admin-address=127.0.0.1:{admin}",
            "--secure-serving=false",
            "--refresh-metrics-interval=100ms",
            "--classify-deadline=5s",  # a crowded test machine is not what is tested
            "--drain-timeout=2s",
            "--drain-notice=0s",
        ]
        command = [sys.executable, "-m", "epp", "serve", *flags, *self.flags]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=self.environment)

    async def kill(self) -> None:
        """SIGKILL, and gone when this returns."""
        assert self.process is not None
        self.process.kill()
        await asyncio.to_thread(self.process.wait)


class Site:
    """What runs, and how to ask it."""

    def __init__(
        self, folder: Path, replicas: Sequence[Replica], onehops: Sequence[OneHop], http: aiohttp.ClientSession
    ) -> None:
        self.folder = folder
        self.replicas = {replica.name: replica for replica in replicas}
        self.onehops = onehops
        self.http = http
        self.api: Any = None  # the API server, where there is one
        self.envoy: subprocess.Popen[bytes] | None = None
        self.port, self.envoy_admin_port = free_ports(2)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, body: object, path: str = "/v1/chat/completions", **headers: str) -> Answer:
        """One request; header names are written with underscores."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with self.http.post(self.url + path, data=BytesIO(raw), headers=sent, timeout=timeout) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, found, await answer.read())

    async def receipt(self, answer: Answer) -> Json:
        """Why: the receipt that the answer names, from whichever OneHop decided."""
        for onehop in self.onehops:
            with contextlib.suppress(aiohttp.ClientError):
                url = f"{onehop.admin_url}/debug/decisions/{answer.headers['x-onehop-receipt']}"
                async with self.http.get(url) as found:
                    if found.status == 200:
                        receipt: Json = await found.json()
                        return receipt
        raise AssertionError("no OneHop knows the receipt")

    async def pools(self, onehop: OneHop) -> Json:
        """`/debug/pools` of one OneHop."""
        async with self.http.get(f"{onehop.admin_url}/debug/pools") as answer:
            found: Json = await answer.json()
            return found

    async def until(self, ask: Callable[[], Awaitable[Any]], good: Callable[[Any], bool], what: str) -> Any:
        """The first good value; fails with the last one seen, and what the logs say."""
        ends = asyncio.get_running_loop().time() + PATIENCE_S
        value: Any = None
        while True:
            with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError):
                value = await ask()
                if good(value):
                    return value
            for one in self._processes():
                assert one.poll() in (None, -signal.SIGKILL), f"{what}: a process ended: {self.last_words()}"
            assert asyncio.get_running_loop().time() < ends, f"{what}: still {value!r}: {self.last_words()}"
            await asyncio.sleep(POLL_S)

    async def decided(self, onehop: OneHop, endpoints: int) -> None:
        """It knows so many endpoints, and of each what it serves and how busy it is."""

        async def known() -> int:
            pools = (await self.pools(onehop))["pools"]
            endpoints = [e for pool in pools for e in pool["endpoints"]]
            return len({e["address"] for e in endpoints if e["models"] is not None and e["reachable"] and e["load"]})

        await self.until(known, lambda count: count == endpoints, onehop.name)

    def start_envoy(self, config: Json, binary: str | None = None) -> None:
        """Envoy with this configuration, whose addresses are already those of this site."""
        path = self.folder / "envoy.json"
        path.write_text(json.dumps(config, indent=1))
        command = [binary or find_envoy(), "--config-path", str(path), "--log-path", str(self.folder / "envoy.log")]
        options = ["--log-level", "warning", "--concurrency", "2", "--disable-hot-restart"]
        with (self.folder / "envoy.out").open("wb") as output:
            self.envoy = subprocess.Popen(command + options, stdout=output, stderr=subprocess.STDOUT)

    async def envoy_ready(self) -> None:
        """It listens, and its health checks, if it has any, have found everybody."""

        async def unwell() -> list[str]:
            async with self.http.get(f"http://127.0.0.1:{self.envoy_admin_port}/ready") as answer:
                if answer.status != 200:
                    return ["envoy"]
            async with self.http.get(f"http://127.0.0.1:{self.envoy_admin_port}/clusters") as answer:
                rows = (await answer.text()).splitlines()
            return [row for row in rows if "::health_flags::" in row and not row.endswith("::healthy")]

        await self.until(unwell, lambda found: not found, "envoy")

    async def stats(self, pattern: str) -> dict[str, int]:
        """Envoy's counters and gauges that match."""
        url = f"http://127.0.0.1:{self.envoy_admin_port}/stats"
        async with self.http.get(url, params={"filter": pattern, "format": "json"}) as answer:
            rows = (await answer.json(content_type=None))["stats"]
        return {row["name"]: int(row["value"]) for row in rows if "value" in row}

    def last_words(self) -> str:
        """The ends of all logs."""
        logs = [one.log for one in self.onehops] + [self.folder / "envoy.out", self.folder / "envoy.log"]
        texts = [path.read_text(errors="replace").splitlines()[-4:] for path in logs if path.exists()]
        return " | ".join(line.strip() for lines in texts for line in lines)

    def _processes(self) -> Iterable[subprocess.Popen[bytes]]:
        return (one for one in (*(o.process for o in self.onehops), self.envoy) if one is not None)

    async def close(self) -> None:
        """End what runs."""
        await end(self.envoy)
        for onehop in self.onehops:
            await end(onehop.process)


@asynccontextmanager
async def running(
    folder: Path, replicas: Sequence[Replica], onehops: Sequence[OneHop] = (), *, listening: bool = False
) -> AsyncIterator[Site]:
    """Replicas and OneHops that know them all; Envoy is for the caller to start, who knows the wiring.

    `listening` says that the replicas are served already.
    """
    async with AsyncExitStack() as closing:
        if not listening:
            await closing.enter_async_context(serving(replicas))
        connector = aiohttp.TCPConnector(limit=0)
        http = await closing.enter_async_context(aiohttp.ClientSession(connector=connector))
        site = Site(folder, replicas, onehops, http)
        closing.push_async_callback(site.close)
        for onehop in onehops:
            onehop.start()
        yield site


def discovery_file(folder: Path, replicas: Sequence[Replica], name: str = "endpoints.json") -> Path:
    """The replicas as `--discovery-file` reads them."""
    rows = [{"name": r.name, "address": r.address, "port": r.port, "labels": dict(r.labels)} for r in replicas]
    path = folder / name
    path.write_text(json.dumps({"endpoints": rows}))
    return path


def chat(model: str, text: str = "hello there", size: int = 200, **more: Any) -> Json:
    """A request for an answer of `size` bytes."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": size, **more}
