"""Many model servers that only tell their numbers, each on a port of its own: a process beside the one measured."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import cast
from urllib.parse import parse_qs

from benchmarks.scrape.texts import vllm

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n"
MODELS = b'{"data":[{"id":"m"}]}'


class Teller:
    """Answers /metrics in full, or with the series asked for where it `narrows`; some numbers move, if `busy`."""

    def __init__(self, text: bytes, *, narrows: bool, busy: bool) -> None:
        self.text, self.narrows, self.busy = text, narrows, busy
        self.visits = 0

    def answer(self, target: str) -> bytes:
        path, _, query = target.partition("?")
        if path != "/metrics":
            return MODELS
        self.visits += 1
        text = self.text
        if self.busy:
            waiting = b"\nvllm:num_requests_waiting{"
            at = text.index(waiting)
            end = text.index(b"\n", at + 1)
            text = text[: text.rindex(b" ", at, end)] + b" %d.0" % (1 + self.visits % 7) + text[end:]
        names = parse_qs(query).get("name[]", []) if self.narrows else []
        return _only(text, names) if names else text


def _only(text: bytes, names: Sequence[str]) -> bytes:
    """As the Python client library of Prometheus restricts a registry; this costs the server, not the one measured."""
    wanted = {name.encode() for name in names}
    lines = [line for line in text.splitlines(keepends=True) if line.partition(b"{")[0] in wanted]
    return b"".join(lines)


class _Connection(asyncio.Protocol):
    def __init__(self, teller: Teller) -> None:
        self.teller = teller
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            body = self.teller.answer(head.split(b" ", 2)[1].decode())
            self.transport.write(HEAD % len(body) + body)


async def main(count: int, ranks: int, narrows: bool, busy: bool) -> None:
    """Print the ports as JSON, serve until standard input ends; each line of it is answered with the reads so far."""
    loop = asyncio.get_running_loop()
    text = vllm(ranks)
    tellers = [Teller(text, narrows=narrows, busy=busy) for _ in range(count)]
    servers = [await loop.create_server(partial(_Connection, teller), "127.0.0.1", 0) for teller in tellers]
    _say(json.dumps([server.sockets[0].getsockname()[1] for server in servers]))
    while await loop.run_in_executor(None, sys.stdin.readline):
        _say(str(sum(teller.visits for teller in tellers)))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    count, ranks, narrows, busy = map(int, sys.argv[1:5])
    asyncio.run(main(count, ranks, bool(narrows), bool(busy)))
