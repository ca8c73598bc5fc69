"""A small HTTP server whose behaviour a test chooses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"

Reply = Callable[[asyncio.StreamWriter, int], Awaitable[None]]


async def ok(writer: asyncio.StreamWriter, number: int) -> None:
    writer.write(ANSWER)


@asynccontextmanager
async def serving(reply: Reply = ok, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, int]]:
    """Calls `reply` with the number of each request, from 0; its address."""
    seen = 0
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
                seen += 1
                await reply(writer, seen - 1)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            talks.discard(task)
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks)


def sse(tokens: int, *, done: bool = True) -> bytes:
    """A whole stream of so many tokens, each in a chunk of its own."""
    event = b'data: {"choices":[{"index":0,"delta":{"content":" token"}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":%d}}\n\n' % tokens
    events = [*[event] * tokens, usage, *([b"data: [DONE]\n\n"] if done else [])]
    body = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + body + b"0\r\n\r\n"
