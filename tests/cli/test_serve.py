"""`onehop serve` as a process of its own: TLS by default, health on both ports, signals, logs, refusals to start."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as envoy_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from epp.cli.stack import free_ports
from epp.edge import tls

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PLAIN = "--secure-serving=false"
UNHURRIED = ("--classify-deadline=5s", "--message-timeout=0")  # a crowded test machine is not what is tested
PATIENCE_S = 30.0


@dataclass
class Running:
    """A started `onehop serve` and its ports."""

    process: subprocess.Popen[bytes]
    log: Path
    grpc_port: int
    health_port: int
    admin_port: int
    metrics_port: int = 0

    async def health(self, name: str = "readiness", port: int = 0) -> int | None:
        """What health says on the health port; None while nobody answers."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port or self.health_port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                return int((await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)).status)
            except grpc.aio.AioRpcError:
                return None

    async def until(self, state: int | None) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.health() != state:
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)


@contextlib.asynccontextmanager
async def running(
    tmp_path: Path, *flags: str, source: str | None = None, ready: int | None = SERVING, **environment: str
) -> AsyncIterator[Running]:
    """A process, with one endpoint from a file unless `source` says otherwise; `ready` is what it is waited for."""
    endpoints = tmp_path / "endpoints.json"
    endpoints.write_text(json.dumps({"endpoints": [{"name": "a", "address": "127.0.0.1", "port": 9}]}))
    grpc_port, health_port, metrics_port, admin_port = free_ports(4)
    command = [
        sys.executable, "-m", "epp", source or f"--discovery-file={endpoints}", "--bind-address=127.0.0.1",
        f"--grpc-port={grpc_port}", f"--grpc-health-port={health_port}", f"--metrics-port={metrics_port}",
        f"--admin-address=127.0.0.1:{admin_port}",
    ]  # fmt: skip
    log = tmp_path / "onehop.log"
    process = start([*command, *flags], log, environment)
    try:
        started = Running(process, log, grpc_port, health_port, admin_port, metrics_port)
        await started.until(ready)
        yield started
    finally:
        process.kill()
        process.wait()


def start(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | environment)


@contextlib.asynccontextmanager
async def stream(port: int) -> AsyncIterator[Any]:
    """An ext_proc stream on a connection of its own, with its first message sent and answered."""
    async with connected(port) as channel:
        opened = envoy_grpc.ExternalProcessorStub(channel).Process()  # type: ignore[no-untyped-call]  # generated
        await opened.write(headers("request_headers", end=True))
        assert (await opened.read()).HasField("request_headers")
        yield opened


def connected(port: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


def headers(side: str, end: bool = False) -> envoy.ProcessingRequest:
    message = envoy.ProcessingRequest()
    part = getattr(message, side)
    part.end_of_stream = end
    for key, value in {":method": b"GET", ":path": b"/health", ":status": b"200"}.items():
        part.headers.headers.add(key=key, raw_value=value)
    return message


async def finish(opened: Any) -> None:
    await opened.write(headers("response_headers"))
    assert (await opened.read()).HasField("response_headers")
    await opened.done_writing()
    while await opened.read() is not grpc.aio.EOF:
        pass


@pytest.mark.usefixtures("workers")
async def test_the_ext_proc_port_speaks_tls_when_told_and_the_health_port_does_not(tmp_path: Path) -> None:
    async with running(tmp_path, "--secure-serving", "--tls-names=picker.example") as onehop:
        address = "127.0.0.1", onehop.grpc_port
        trusted = (await asyncio.to_thread(ssl.get_server_certificate, address)).encode()
        options = [("grpc.ssl_target_name_override", "picker.example")]
        trust = grpc.ssl_channel_credentials(trusted)
        async with grpc.aio.secure_channel(f"127.0.0.1:{onehop.grpc_port}", trust, options) as channel:
            secure = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        plaintext = await onehop.health(port=onehop.grpc_port)

    assert secure.status == SERVING
    assert plaintext is None


@pytest.mark.usefixtures("workers")
async def test_a_given_pair_is_followed(tmp_path: Path) -> None:
    def write(pair: tls.Pair) -> None:
        (tmp_path / tls.CERTIFICATE).write_bytes(pair.chain)
        (tmp_path / tls.KEY).write_bytes(pair.key)

    async def presented() -> bytes:
        got = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", onehop.grpc_port))
        return got.encode()

    before, after = tls.self_signed([]), tls.self_signed([])
    write(before)
    async with running(tmp_path, "--secure-serving", f"--cert-path={tmp_path}", "--enable-cert-reload") as onehop:
        first = await presented()
        write(after)
        async with asyncio.timeout(PATIENCE_S):
            while await presented() != after.chain:
                await asyncio.sleep(0.05)

    assert first == before.chain


@pytest.mark.usefixtures("workers")
async def test_sigterm_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, PLAIN, "--drain-notice=2s", "--drain-timeout=30s") as onehop:
        async with stream(onehop.grpc_port) as early:
            onehop.process.send_signal(signal.SIGTERM)
            await onehop.until(NOT_SERVING)
            alive = await onehop.health("liveness"), await onehop.health(port=onehop.grpc_port)
            async with stream(onehop.grpc_port) as late:  # before the gateway has noticed
                await finish(late)
            async with asyncio.timeout(PATIENCE_S):
                while await onehop.health(port=onehop.grpc_port) is not None:  # notice given: no more of them
                    await asyncio.sleep(0.05)
            still = onehop.process.poll()
            await finish(early)
        code = await onehop.ended()

    assert alive == (SERVING, NOT_SERVING)
    assert still is None
    assert code == 0


@pytest.mark.usefixtures("workers")
async def test_what_outlasts_the_drain_timeout_is_cut_off(tmp_path: Path) -> None:
    flags = [PLAIN, "--drain-notice=0s", "--drain-timeout=300ms"]
    async with running(tmp_path, *flags) as onehop, stream(onehop.grpc_port) as opened:
        onehop.process.send_signal(signal.SIGTERM)
        code = await onehop.ended()
        with pytest.raises(grpc.aio.AioRpcError):
            await opened.read()

    assert code == 0
    assert "the drain timeout is over, 1 streams are cut off" in onehop.log.read_text()


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(tmp_path: Path, second: signal.Signals) -> None:
    async with running(tmp_path, PLAIN, "--drain-timeout=10m") as onehop, stream(onehop.grpc_port):
        onehop.process.send_signal(signal.SIGTERM)
        await onehop.until(NOT_SERVING)
        onehop.process.send_signal(second)
        code = await onehop.ended()

    assert code == 128 + second


@pytest.mark.usefixtures("workers")
async def test_a_watch_does_not_hold_up_the_end(tmp_path: Path) -> None:
    flags = [PLAIN, "--drain-notice=0s", "--drain-timeout=10m"]
    async with running(tmp_path, *flags) as onehop, connected(onehop.grpc_port) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        told = [(await watch.read()).status]
        onehop.process.send_signal(signal.SIGTERM)
        told.append((await watch.read()).status)
        code = await onehop.ended()

    assert (told, code) == ([SERVING, NOT_SERVING], 0)


async def test_json_logs_are_one_object_a_line_from_start_to_end(tmp_path: Path) -> None:
    async with running(tmp_path, "--zap-encoder=json", "--drain-notice=0s", "-v=4") as onehop:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await onehop.health(port=onehop.grpc_port)  # plaintext to the TLS port: gRPC itself has nothing to say
        onehop.process.send_signal(signal.SIGTERM)
        code = await onehop.ended()
    told = [json.loads(line) for line in onehop.log.read_text().splitlines()]

    assert code == 0
    assert all({"level", "ts", "logger", "msg"} <= line.keys() for line in told)
    assert any("serving ext_proc" in line["msg"] for line in told)


async def test_an_admin_address_for_others_asks_for_the_token(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    flags = [PLAIN, f"--admin-address=0.0.0.0:{port}"]
    async with running(tmp_path, *flags, ONEHOP_ADMIN_TOKEN="s3cret"), aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{port}/debug/pools"
        without = (await http.get(url)).status
        with_it = (await http.get(url, headers={"authorization": "Bearer s3cret"})).status

    assert (without, with_it) == (401, 200)
    assert "s3cret" not in (tmp_path / "onehop.log").read_text()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--discovery-file: or one of --pool-name, --pool, "),
        (["--pool-name=p", "--kubeconfig=/nowhere"], "/nowhere: not found; outside of a pod, name a kubeconfig file"),
        (["--tracing-sample=1"], "--tracing-sample: has no effect without --tracing"),
        (["--discovery-file=/nowhere", "--secure-serving", "--cert-path=/nowhere"], "/nowhere/tls.crt: cannot be read"),
        (["--admin-address=0.0.0.0:1"], "--admin-address: 0.0.0.0:1 is not loopback"),
    ],
)
def test_a_start_that_is_refused_says_why_in_one_line(flags: list[str], said: str) -> None:
    command = [sys.executable, "-m", "epp", *flags]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 1
    assert ran.stderr.startswith(f"onehop serve: {said}")
    assert ran.stderr.count("\n") == 1
