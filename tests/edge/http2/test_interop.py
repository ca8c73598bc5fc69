"""gRPC's own client libraries against both of our transports: they must not be able to tell them apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import grpc
import pytest

from epp.edge.methods import Limits, Read, Write
from epp.edge.status import Code, Failed
from tests.edge.http2.peer import PATH
from tests.edge.transports import TRANSPORTS, served

LIMITS = Limits(receive_bytes_max=1 << 20, send_bytes_max=1 << 20)
Say = Callable[[Iterator[bytes]], Any]


async def odd(read: Read, write: Write) -> None:
    """Echoes; a message can ask for an end of its own kind."""
    while (said := await read()) is not None:
        if said == b"fail":
            raise Failed(Code.INVALID_ARGUMENT, "as asked: \u00fc %")
        if said == b"surprise":
            raise KeyError("with what a client said")
        if said == b"end":
            return
        if said == b"large":
            await write(bytes(LIMITS.send_bytes_max + 1))
        await write(said)


@pytest.fixture(params=TRANSPORTS)
async def port(request: pytest.FixtureRequest) -> AsyncIterator[int]:
    async with served(request.param, {PATH: odd}, limits=LIMITS) as number:
        yield number


Told = tuple[list[bytes], grpc.StatusCode, str | None]


async def tell(channel: grpc.aio.Channel, said: list[bytes], path: str = PATH, **options: Any) -> Told:
    """What was answered and how it ended."""

    async def sending() -> AsyncIterator[bytes]:
        for each in said:
            yield each

    call = channel.stream_stream(path)(sending(), timeout=20, **options)
    heard = []
    with suppress(grpc.aio.AioRpcError):
        heard = [each async for each in call]
    return heard, await call.code(), await call.details()


def tell_blocking(port: int, said: list[bytes], path: str = PATH) -> Told:
    """The same by the blocking client; the other takes its own write to a call that has just ended for an error."""
    heard = []
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", unbounded) as channel:
        call = channel.stream_stream(path)(iter(said), timeout=20)
        with suppress(grpc.RpcError):
            for each in call:
                heard.append(each)  # what came before an error counts
        return heard, call.code(), call.details()


@asynccontextmanager
async def channel_to(port: int, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [*unbounded, *options.items()]) as channel:
        yield channel


@pytest.mark.parametrize(
    ("said", "code", "details"),
    [
        ([], grpc.StatusCode.OK, ""),
        ([b""], grpc.StatusCode.OK, ""),
        ([b"one", b"", b"two" * 100_000], grpc.StatusCode.OK, ""),
        ([b"end", b"never read"], grpc.StatusCode.OK, ""),
        ([b"one", b"fail"], grpc.StatusCode.INVALID_ARGUMENT, "as asked: \u00fc %"),
        ([b"fail"], grpc.StatusCode.INVALID_ARGUMENT, "as asked: \u00fc %"),
        ([bytes((1 << 20) + 1)], grpc.StatusCode.RESOURCE_EXHAUSTED, None),
        ([b"large"], grpc.StatusCode.RESOURCE_EXHAUSTED, None),
    ],
)
async def test_a_call_is_answered_alike(
    port: int, said: list[bytes], code: grpc.StatusCode, details: str | None
) -> None:
    heard, ended, why = await asyncio.to_thread(tell_blocking, port, said)

    assert ended is code
    assert details in (None, why)
    if code is grpc.StatusCode.OK and b"end" not in said:
        assert heard == said


async def test_a_surprise_is_unknown_and_shows_nothing_of_what_was_said(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    _, code, details = await asyncio.to_thread(tell_blocking, port, [b"surprise"])

    assert code is grpc.StatusCode.UNKNOWN
    assert details == "KeyError"
    assert "surprise KeyError ended a call" in caplog.text
    assert "what a client said" not in caplog.text


async def test_unknown_methods_are_unimplemented(port: int) -> None:
    _, code, _ = await asyncio.to_thread(tell_blocking, port, [b"one"], "/a.Service/Unknown")

    assert code is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
async def test_compressed_messages_are_read(port: int, compression: grpc.Compression) -> None:
    said = [b"squeeze me " * 1000, b"x"]
    async with channel_to(port) as channel:
        heard, code, _ = await tell(channel, said, compression=compression)

    assert (heard, code) == (said, grpc.StatusCode.OK)


async def test_metadata_of_any_size_gets_through(port: int) -> None:
    metadata = [(f"x-{number}", "v" * 200) for number in range(30)] + [("x-bin", bytes(range(256)))]
    async with channel_to(port) as channel:
        for _ in range(3):
            heard, code, details = await tell(channel, [b"one"], metadata=metadata)

    assert (heard, code, details) == ([b"one"], grpc.StatusCode.OK, "")


async def test_the_blocking_client_is_served_too(port: int) -> None:
    def ask() -> tuple[list[bytes], bytes]:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            many = list(channel.stream_stream(PATH)(iter([b"one", b"two"]), timeout=20))
            one: bytes = channel.unary_unary(PATH)(b"alone", timeout=20)
            return many, one

    assert await asyncio.to_thread(ask) == ([b"one", b"two"], b"alone")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_many_calls_at_once_with_messages_of_every_size(port: int, seed: int) -> None:
    rng = Random(seed)
    asked = [[rng.randbytes(rng.choice([0, 10, 5_000, 60_000, 300_000])) for _ in range(4)] for _ in range(30)]
    async with channel_to(port) as channel:
        told = await asyncio.gather(*(tell(channel, said) for said in asked))

    assert [heard for heard, _, _ in told] == asked
    assert {code for _, code, _ in told} == {grpc.StatusCode.OK}
