"""The server that costs nothing: told what to answer in a header, or in the body where a router dropped the header."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from benchmarks.live.upstream import Upstream


async def answered(*writes: bytes) -> bytes:
    """All that it says until it has said the end of a stream, or its small answer."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    for data in writes:
        writer.write(data)
        await asyncio.sleep(0.02)
    told = b""
    async with asyncio.timeout(5):
        while not told.endswith((b"}}", b"0\r\n\r\n")):
            told += await reader.read(1 << 16)
    writer.close()
    server.close()
    return told


def request(body: bytes, *headers: bytes) -> tuple[bytes, bytes]:
    lines = [b"POST /v1/chat/completions HTTP/1.1", b"host: x", *headers, b"content-length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n", body


async def test_it_has_nothing_else() -> None:
    head, body = request(b'{"stop":"x-answer 4/0"}')
    asked = head.replace(b"/v1/chat/completions", b"/tokenize") + body
    told = await answered(asked, head + body)  # and goes on to answer

    assert told.startswith(b"HTTP/1.1 404")
    assert told.count(b'"delta"') == 4


@pytest.mark.parametrize(
    ("writes", "tokens"),
    [
        (request(b"{}"), 0),
        (request(b"{}", b"x-answer: 3/0"), 3),
        (request(b'{"stop":"x-answer 4/0","stream":true}'), 4),
        (request(b'{"stop": "x-answer 4/0"}'), 4),
        (request(b'{"stop":"x-answer 4/0"}', b"x-answer: 2/0"), 2),
        (request(b'{"stop":"x-answer 4/0","messages":"' + b"x" * 20_000 + b'"}'), 0),  # too large to be searched
    ],
)
async def test_it_answers_as_it_is_told(writes: Sequence[bytes], tokens: int) -> None:
    head, body = writes

    for parts in ((head + body,), (head, body), (head, body[:10], body[10:])):
        told = await answered(*parts)
        assert told.count(b'"delta"') == tokens
        assert (b"[DONE]" in told) == (tokens > 0)
