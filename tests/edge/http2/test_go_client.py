"""Go's own gRPC as a client of both transports; run by `make test-http2`, which builds it from `goclient/`."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as envoy

from epp.edge import tls
from epp.edge.health import EXT_PROC
from epp.edge.methods import Read, Write
from tests.cli.test_serve import PLAIN, headers, running
from tests.edge.http2.peer import PATH
from tests.edge.http2.site import serving
from tests.edge.http2.test_interop import LIMITS, odd
from tests.edge.transports import TRANSPORTS, served
from tests.edge.until import until
from tests.make import chat

CLIENT = os.environ.get("ONEHOP_GO_CLIENT", "")
OK, CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
CODES = {code.value[0]: code for code in grpc.StatusCode}

pytestmark = pytest.mark.skipif(not CLIENT, reason="make test-http2 builds it and says where it is")


async def made(port: int, *calls: dict[str, Any], **plan: Any) -> list[tuple[list[bytes], grpc.StatusCode, str]]:
    """What each of the calls heard, and how it ended."""
    asked = [{**call, "Messages": [base64.b64encode(m).decode() for m in call["Messages"]]} for call in calls]
    said = json.dumps({"Address": f"127.0.0.1:{port}", **plan, "Calls": asked}).encode()
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(CLIENT, **pipes)  # type: ignore[arg-type]  # as it takes them
    out, complaints = await process.communicate(said)
    assert process.returncode == 0, complaints.decode()
    return [
        ([base64.b64decode(m) for m in told["Heard"] or []], CODES[told["Code"]], told["Details"])
        for told in json.loads(out)
    ]


def call(*messages: bytes, path: str = PATH, **more: Any) -> dict[str, Any]:
    return {"Path": path, "Messages": messages, **more}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("secure", [False, True])
async def test_calls_are_answered_alike(transport: str, secure: bool) -> None:
    pair = tls.self_signed([])
    metadata = {f"x-{number}": "v" * 200 for number in range(30)}
    calls = (
        call(),
        call(b""),
        call(b"one", b"", b"two" * 100_000),
        call(b"one", b"two", Lockstep=True),
        call(b"x" * (1 << 20)),
        call(b"squeeze me " * 1000, b"x", Encoding="gzip"),
        call(b"one", Metadata=metadata),
        call(b"one", b"fail"),
        call(b"end", b"never read"),
        call(bytes((1 << 20) + 1)),
        call(b"surprise"),
        call(b"one", path="/a.Service/Unknown"),
    )
    async with served(transport, {PATH: odd}, limits=LIMITS, pair=(lambda: pair) if secure else None) as port:
        told = await made(port, *calls, TLS=secure)

    for asked, (heard, code, _) in zip(calls[:7], told[:7], strict=True):
        assert (tuple(heard), code) == (asked["Messages"], OK)
    assert told[7][1:] == (grpc.StatusCode.INVALID_ARGUMENT, "as asked: \u00fc %")
    assert [code for _, code, _ in told[8:]] == [
        OK,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNIMPLEMENTED,
    ]


async def test_many_streams_over_one_connection_with_the_least_windows() -> None:
    """And nothing that Go does, pings to estimate the bandwidth among it, is taken for abuse."""
    calls = [call(*(bytes([n]) * 40_000 for n in range(5)), Lockstep=bool(number % 2)) for number in range(300)]
    async with serving() as site:
        told = await made(site.server.port, *calls, Window=65_535)
        breaches = site.counts.breaches

    assert {code for _, code, _ in told} == {OK}
    assert all(tuple(heard) == asked["Messages"] for asked, (heard, _, _) in zip(calls, told, strict=True))
    assert Counter(site.ended) == {"ended": 300}
    assert breaches == {}


async def test_a_deadline_and_a_cancelled_call_end_here_too() -> None:
    async with serving() as site:
        told = await made(
            site.server.port,
            call(b"one", b"two", b"three", Lockstep=True, Cancel=2),
            call(*[b"piece"] * 200_000, Lockstep=True, Timeout=300),
        )
        await until(lambda: len(site.ended) == 2)

    assert [code for _, code, _ in told] == [CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED]
    assert (len(told[0][0]), len(told[1][0]) > 2) == (2, True)
    assert site.ended == ["cancelled", "cancelled"]


async def test_no_call_is_lost_when_connections_make_way() -> None:
    """Connections of a quarter of a second, calls all the time: Go goes to the next by GOAWAY alone."""
    links = []

    async def slow(read: Read, write: Write) -> None:
        links[:] = {*links, *site.server._links}
        while (said := await read()) is not None:
            await asyncio.sleep(0.05)
            await write(said)

    async with serving(method=slow, age_s=0.25) as site:
        told = await made(site.server.port, *[call(b"one", b"two", Lockstep=True)] * 150, Spread=10)

    assert {(tuple(heard), code) for heard, code, _ in told} == {((b"one", b"two"), OK)}
    assert len(links) > 3


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_onehop_answers_ext_proc_and_health(tmp_path: Path, transport: str) -> None:
    asked = envoy.ProcessingRequest()
    asked.protocol_config.request_body_mode = 2  # BUFFERED
    for key, value in {":method": b"POST", ":path": b"/v1/chat/completions"}.items():
        asked.request_headers.headers.headers.add(key=key, raw_value=value)
    body = envoy.ProcessingRequest()
    body.request_body.body, body.request_body.end_of_stream = chat("m"), True
    said = [m.SerializeToString() for m in (asked, body, headers("response_headers", end=True))]
    async with running(tmp_path, PLAIN, f"--transport={transport}", "--unknown-model=forward") as onehop:
        (picked, healthy) = await made(
            onehop.grpc_port,
            call(*said, path=f"/{EXT_PROC}/Process", Lockstep=True),
            call(b"", path="/grpc.health.v1.Health/Check"),
        )
    kinds = [envoy.ProcessingResponse.FromString(m).WhichOneof("response") for m in picked[0]]

    assert (kinds, picked[1]) == (["request_headers", "request_body", "response_headers"], OK)
    assert healthy == ([b"\x08\x01"], OK, "")
