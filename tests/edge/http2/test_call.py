"""One call without a connection: how it runs on in the calls that bring something, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from epp.edge.http2.call import Call
from epp.edge.http2.frames import ErrorCode
from epp.edge.http2.head import Head
from epp.edge.http2.limits import Http2Limits
from epp.edge.http2.stream import Http2Stream
from epp.edge.methods import Method, Read, Write
from epp.edge.status import Code, Failed

LIMITS = Http2Limits(send_bytes_max=100, unsent_bytes_max=50)


class Way:
    """What a call says to its connection, in order."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def read(self, stream: Http2Stream, size: int) -> None:
        self.said.append(("read", size))

    def send(self, stream: Http2Stream, message: bytes) -> None:
        self.said.append(message)

    def finish(self, stream: Http2Stream, code: Code, text: str) -> None:
        self.said.append((code, text))

    def abort(self, stream: Http2Stream, code: ErrorCode) -> None:
        self.said.append(code)


class Made:
    """A call that is started from the loop, as it must be."""

    def __init__(self, method: Method) -> None:
        self.loop = asyncio.get_running_loop()
        self.way = Way()
        self.stream = Http2Stream(1, Head(), 65_535, 65_535)
        self.call = self.stream.call = Call(self.stream, self.way, method, self.loop, LIMITS)

    def come(self, message: bytes) -> None:
        """As the connection does: what answers the message at once is said for it."""
        replies = self.call.come(message)
        if replies is not None:
            self.way.said.append(("answered", len(message), *replies))

    async def do(self, *steps: Callable[[], object]) -> list[Any]:
        """All in one turn of the loop, and what was said by its end; then some turns."""
        said: list[Any] = []

        def turn() -> None:
            for step in steps:
                step()
            said.extend(self.way.said)

        self.loop.call_soon(turn)
        for _ in range(5):
            await asyncio.sleep(0)
        return said


def passing(with_: Callable[[bytes], list[bytes] | None]) -> Method:
    """Lets messages pass, and echoes those that it reads."""

    async def method(read: Read, write: Write) -> None:
        read.passing = with_  # type: ignore[attr-defined]  # it is a `Reading`
        while (said := await read()) is not None:
            await write(said)

    return method


@pytest.mark.parametrize(("size", "code"), [(100, Code.OK), (101, Code.RESOURCE_EXHAUSTED)])
async def test_an_answer_may_be_as_large_as_its_bound_and_no_larger(size: int, code: Code) -> None:
    async def method(read: Read, write: Write) -> None:
        await write(bytes(size))

    made = Made(method)
    said = await made.do(made.call.start)

    assert said[-1][0] is code
    assert (bytes(size) in said) is (code is Code.OK)


@pytest.mark.parametrize(("size", "code"), [(100, Code.OK), (101, Code.RESOURCE_EXHAUSTED)])
async def test_so_may_an_answer_that_is_passed(size: int, code: Code) -> None:
    made = Made(passing(lambda message: [bytes(size)]))
    said = await made.do(made.call.start, lambda: made.come(b"ask"), made.call.end)

    assert said[-1][0] is code
    assert (("answered", 3, bytes(size)) in said) is (code is Code.OK)


@pytest.mark.parametrize(("unsent", "passed"), [(50, True), (51, False)])
async def test_messages_pass_while_no_more_waits_to_be_sent_than_may(unsent: int, passed: bool) -> None:
    made = Made(passing(lambda message: [b"passed"]))
    await made.do(made.call.start)
    made.stream.unsent = unsent
    said = await made.do(lambda: made.come(b"ask"))

    assert said == [("answered", 3, b"passed") if passed else ("read", 3), *([] if passed else [b"ask"])]


async def test_what_passing_raises_ends_the_call_in_the_very_call_that_brought_the_message() -> None:
    def fails(message: bytes) -> list[bytes]:
        raise Failed(Code.INVALID_ARGUMENT, "no")

    made = Made(passing(fails))
    said = await made.do(made.call.start, lambda: made.come(b"ask"))

    assert said == [(Code.INVALID_ARGUMENT, "no")]


async def test_who_waits_to_write_when_the_peer_resets_is_cancelled_though_it_passes_messages() -> None:
    """What waits to be sent will never go: the end of the stream cannot be read there."""
    ended: list[str] = []

    async def method(read: Read, write: Write) -> None:
        read.passing = lambda message: [message]  # type: ignore[attr-defined]  # it is a `Reading`
        try:
            await write(b"answer")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    made = Made(method)
    made.stream.unsent = 51
    await made.do(made.call.start, made.call.reset)

    assert ended == ["cancelled"]
    assert made.way.said == [b"answer"]


async def test_the_first_reason_to_stop_is_the_one_that_is_told() -> None:
    made = Made(passing(lambda message: None))
    await made.do(made.call.start)
    await made.do(
        lambda: made.call.stop(Code.DEADLINE_EXCEEDED, "too late"), lambda: made.call.stop(Code.INTERNAL, "broken")
    )

    assert made.way.said == [(Code.DEADLINE_EXCEEDED, "too late")]
