"""Messages that are answered in the call that brings them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import pytest

from epp.edge.http2 import frames
from epp.edge.methods import Read, Reading, Write
from epp.edge.status import Code, Failed
from tests.edge.http2.peer import PATH, message
from tests.edge.http2.site import Client, serving
from tests.edge.until import until


def passes(read: Read, passing: Callable[[bytes], list[bytes] | None]) -> None:
    assert isinstance(read, Reading)
    read.passing = passing


async def test_what_is_passed_is_answered_without_being_read_and_all_in_order() -> None:
    read_: list[bytes | None] = []

    def passing(message: bytes) -> list[bytes] | None:
        return None if message == b"3" else [b"passed " + message] * (message != b"2")

    async def some(read: Read, write: Write) -> None:
        passes(read, passing)
        while (said := await read()) is not None:
            read_.append(said)
            await write(b"read " + said)

    async with serving(method=some) as site, grpc.aio.insecure_channel(f"127.0.0.1:{site.server.port}") as channel:
        call = channel.stream_stream(PATH)(iter([b"%d" % n for n in range(6)]))
        answers = [answer async for answer in call]

    assert answers == [b"passed 0", b"passed 1", b"read 3", b"passed 4", b"passed 5"]
    assert read_ == [b"3"]


async def test_what_passing_raises_is_raised_where_the_message_would_have_been_read() -> None:
    raised: list[str] = []

    def passing(message: bytes) -> list[bytes] | None:
        raise ValueError(message)

    async def some(read: Read, write: Write) -> None:
        passes(read, passing)
        try:
            await read()
        except ValueError as error:
            raised.append(str(error))
            raise Failed(Code.INVALID_ARGUMENT, "no") from None

    async with serving(method=some) as site, grpc.aio.insecure_channel(f"127.0.0.1:{site.server.port}") as channel:
        call = channel.stream_stream(PATH)(iter([b"bad"]))
        code = await call.code()

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert raised == ["b'bad'"]


@pytest.mark.parametrize("passing", [None, lambda message: [b"passed"]])
async def test_who_passes_messages_reads_the_end_of_a_stream_that_is_reset_and_others_are_cancelled(
    passing: Callable[[bytes], list[bytes] | None] | None,
) -> None:
    ended: list[str] = []

    async def some(read: Read, write: Write) -> None:
        assert isinstance(read, Reading)
        read.passing = passing
        try:
            await write(b"here")
            ended.append(f"{await read()}, gone: {read.gone}")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with serving(method=some) as site, grpc.aio.insecure_channel(f"127.0.0.1:{site.server.port}") as channel:
        call = channel.stream_stream(PATH)()
        assert await call.read() == b"here"
        call.cancel()
        await until(lambda: bool(ended))

    assert ended == ["cancelled" if passing is None else "None, gone: True"]


async def test_an_answer_that_is_held_up_is_waited_for_and_not_passed() -> None:
    passed: list[int] = []

    def passing(message: bytes) -> list[bytes] | None:
        passed.append(len(message))
        return [message]

    async def some(read: Read, write: Write) -> None:
        passes(read, passing)
        while (said := await read()) is not None:
            site.reads += 1
            await write(said)

    async with serving(method=some) as site:
        client = await Client.connected(site, window=1000)
        client.call(1, message(bytes(10_000)))
        await client.frame(frames.DATA)
        client.say(*(frames.frame(frames.DATA, 0, 1, message(bytes(10_000))) for _ in range(35)))
        await until(lambda: len(passed) + site.reads == 8)
        await asyncio.sleep(0.1)
        stuck = len(passed), site.reads
        client.say(frames.window_update(1, 1 << 20), frames.window_update(0, 1 << 20))
        heard = 0
        while heard < 36 * 10_005:
            heard = sum(len(f.payload) for f in client.heard if f.kind == frames.DATA)
            if heard < 36 * 10_005:
                await client.frame(frames.DATA)
        client.close()

        assert stuck == (7, 1)  # 64 KiB are full with the seventh; one more is read, and its answer waits
        assert len(passed) + site.reads == 36
