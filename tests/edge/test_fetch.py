"""GETs over a connection that is kept, on real sockets: what a server may do to us, and what we call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from epp.edge.fetch import BadAnswer, Client, NoAnswer, Patience

from .until import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
PATIENT = Patience(20.0, 20.0)

Play = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Plays a script on each connection, which is told its number; all that it was asked, in order."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.connections = 0
        self.open = 0
        self.heads: list[bytes] = []
        self.port = 0

    async def asked(self, reader: asyncio.StreamReader) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, self.connections = self.connections, self.connections + 1
        self.open += 1
        try:
            await self.play(number, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def playing(play: Callable[[Server], Play], patience: Patience = PATIENT) -> AsyncIterator[tuple[Server, Client]]:
    async def first(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await play(server)(number, reader, writer)

    server = Server(first)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    client = Client(f"127.0.0.1:{server.port}", patience)
    try:
        async with listening:
            yield server, client
            client.close()
    finally:
        await until(lambda: server.open == 0)


def steps(*answers: bytes, close_after: int | None = None) -> Callable[[Server], Play]:
    """Each connection answers these in turn, then closes; or already after some."""

    def script(server: Server) -> Play:
        async def play(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for answer in answers[:close_after]:
                await server.asked(reader)
                writer.write(answer)
                await writer.drain()

        return play

    return script


async def test_a_connection_is_kept_and_what_is_sent_is_a_plain_get() -> None:
    async with playing(steps(OK, OK, OK)) as (server, client):
        bodies = [await client.get("/metrics", 100) for _ in range(3)]

        assert bodies == [b"hello"] * 3
        assert server.connections == 1
        expected = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept-Encoding: identity\r\n\r\n"
        assert server.heads == [expected.encode()] * 3


async def test_a_connection_that_the_server_has_closed_meanwhile_is_no_failure() -> None:
    async with playing(steps(OK)) as (server, client):
        bodies = []
        for _ in range(3):
            bodies.append(await client.get("/", 100))
            await until(lambda: client.lost)

        assert bodies == [b"hello"] * 3
        assert server.connections == 3


async def test_a_connection_that_is_closed_just_as_we_ask_is_opened_once_more() -> None:
    def script(server: Server) -> Play:
        async def play(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.asked(reader)
            writer.write(OK)
            await writer.drain()
            await server.asked(reader)  # and not a word to that
            if number:
                writer.write(OK)
                await writer.drain()

        return play

    async with playing(script) as (server, client):
        bodies = [await client.get("/", 100) for _ in range(2)]

        assert bodies == [b"hello"] * 2
        assert server.connections == 2


async def test_a_new_connection_without_an_answer_is_one() -> None:
    async with playing(steps(b"")) as (_, client):
        with pytest.raises(NoAnswer, match=r"connection closed without an answer|connection reset by peer") as caught:
            await client.get("/", 100)

        assert caught.value.strikes == 1


async def test_what_nobody_asked_for_ends_the_connection_and_no_more() -> None:
    async with playing(steps(OK + OK, OK)) as (server, client):
        bodies = [await client.get("/", 100) for _ in range(2)]

        assert bodies == [b"hello"] * 2
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "message", "status"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "HTTP 503", 503),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "HTTP 302", 302),
        (b"HTTP/1.1 204 No\r\n\r\n", "HTTP 204", 204),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", "the answer was cut off", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", "the answer is larger than 100 bytes", None),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", "compressed", None),
        (b"220 mail.example.org ESMTP\r\n", "not HTTP as we know it", None),
    ],
)
async def test_bad_answers_say_what_they_are_and_the_next_one_is_another_story(
    answer: bytes, message: str, status: int | None
) -> None:
    async with playing(steps(answer)) as (server, client):
        with pytest.raises(BadAnswer, match=message) as caught:
            await client.get("/", 100)
        server.play = steps(OK)(server)

        assert caught.value.status == status
        assert await client.get("/", 100) == b"hello"


async def test_who_takes_too_long_is_left_and_the_connection_is_not_used_again() -> None:
    def script(server: Server) -> Play:
        async def play(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.asked(reader)
            if number:
                writer.write(OK)
                await writer.drain()
            await reader.read()

        return play

    async with playing(script, Patience(20.0, 0.5)) as (server, client):
        with pytest.raises(NoAnswer, match="no answer in time") as caught:
            await client.get("/", 100)
        body = await client.get("/", 100)

        assert caught.value.strikes == 2
        assert body == b"hello"
        await until(lambda: server.open == 1)


async def test_who_sends_a_byte_now_and_then_has_no_more_time_than_others() -> None:
    def script(server: Server) -> Play:
        async def play(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.asked(reader)
            for byte in OK * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.02)

        return play

    async with playing(script, Patience(20.0, 0.2)) as (_, client):
        with pytest.raises(NoAnswer, match="no answer in time"):
            await client.get("/", 100)


async def test_a_get_that_is_cancelled_leaves_no_connection() -> None:
    def script(server: Server) -> Play:
        async def play(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.asked(reader)
            await reader.read()

        return play

    async with playing(script) as (server, client):
        task = asyncio.create_task(client.get("/", 100))
        await until(lambda: server.heads)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await until(lambda: server.open == 0)


async def test_nobody_there_is_told_in_words() -> None:
    async with playing(steps(OK)) as (server, client):
        pass
    with pytest.raises(NoAnswer, match="connection refused") as refused:
        await client.get("/", 100)
    with pytest.raises(NoAnswer, match="does not resolve") as nameless:
        await Client("no-such-host.invalid:80", PATIENT).get("/", 100)

    assert server.connections == 0
    assert (refused.value.strikes, nameless.value.strikes) == (1, 2)


async def test_ipv6_addresses_are_dialled_without_their_brackets() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        writer.close()

    try:
        server = await asyncio.start_server(answer, "::1", 0)
    except OSError:
        pytest.skip("there is no IPv6 here")
    async with server:
        client = Client(f"[::1]:{server.sockets[0].getsockname()[1]}", PATIENT)
        body = await client.get("/", 100)
        client.close()

    assert body == b"hello"


async def test_closing_twice_is_harmless() -> None:
    async with playing(steps(OK)) as (server, client):
        await client.get("/", 100)
        client.close()
        client.close()

        await until(lambda: server.open == 0)
        assert not client.lost
