"""The clients: raw HTTP/1.1 over kept connections, each asking again as soon as it was answered.

`python -m benchmarks.hop.load`, a `Plan` as JSON on standard input, a `Result` as JSON on standard output. With
`hold` the requests are never answered: it says "open" when all are sent and closes them when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from benchmarks.hop.upstream import MODEL

WARM_S = 0.5


@dataclass
class Plan:
    """Which requests, over how many connections, for how long; `answer` as in `upstream.py`."""

    port: int
    connections: int
    seconds: float
    body_bytes: int
    answer: str = ""


@dataclass
class Result:
    """Requests answered in all and in the time that counts, their latencies, and what the clients themselves used."""

    seconds: float = 0.0
    requests: int = 0
    counted: int = 0
    p50_s: float = 0.0
    p99_s: float = 0.0
    cpu_s: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, request: bytes, told: list[tuple[float, float]], statuses: Counter[str]) -> None:
        self._request = request
        self._told = told
        self._statuses = statuses
        self._transport: Any = None
        self._began = 0.0
        self._buffer = b""
        self._chunked = False
        self._missing = -1
        self.stop = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.ask()

    def ask(self) -> None:
        """The next request."""
        self._began = time.perf_counter()
        self._missing = -1
        self._buffer = b""
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._buffer += data
            head, found, data = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            self._statuses[head[9:12].decode()] += 1
            at = head.find(b"content-length: ")
            self._chunked = at < 0
            self._missing = 1 if at < 0 else int(head[at + 16 :].split(b"\r\n", 1)[0])
            self._buffer = b""
        if self._chunked:
            self._buffer = (self._buffer + data)[-7:]
            if self._buffer.endswith(b"\r\n0\r\n\r\n") or self._buffer == b"0\r\n\r\n":
                self._answered()
        else:
            self._missing -= len(data)
            if self._missing <= 0:
                self._answered()

    def _answered(self) -> None:
        now = time.perf_counter()
        self._told.append((now, now - self._began))
        if not self.stop:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.stop:
            self._statuses["lost"] += 1

    def close(self) -> None:
        """Whatever is open."""
        self.stop = True
        self._transport.abort()


def request(body_bytes: int, answer: str) -> bytes:
    """A chat request whose body has about this size."""
    said = {"model": MODEL, "messages": [{"role": "user", "content": ""}], "max_tokens": 16, "stream": bool(answer)}
    empty = len(json.dumps(said))
    words = "The quick brown fox jumps over the lazy dog, and then asks what it is all about. "
    text = (words * (body_bytes // len(words) + 1))[: max(0, body_bytes - empty)]
    said["messages"] = [{"role": "user", "content": text}]
    body = json.dumps(said).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: bench", "content-type: application/json"]
    lines += [f"x-answer: {answer}"] if answer else []
    return ("\r\n".join([*lines, f"content-length: {len(body)}"]) + "\r\n\r\n").encode() + body


async def run(plan: Plan) -> Result:
    """Ask until the time is over; in the first half second nothing counts."""
    told: list[tuple[float, float]] = []
    statuses: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    asked = request(plan.body_bytes, plan.answer)
    clients = []
    for _ in range(plan.connections):
        _, client = await loop.create_connection(lambda: Client(asked, told, statuses), "127.0.0.1", plan.port)
        clients.append(client)
    if plan.answer == "hold":
        sys.stdout.write("open\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.read)
        for client in clients:
            client.close()
        return Result()
    began = time.perf_counter()
    await asyncio.sleep(plan.seconds)
    ended = time.perf_counter()
    for client in clients:
        client.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    counted = sorted(took for at, took in told if at - began > WARM_S) or [0.0]
    return Result(
        seconds=ended - began - WARM_S,
        requests=len(told),
        counted=len(counted),
        p50_s=counted[len(counted) // 2],
        p99_s=counted[int(len(counted) * 0.99)],
        cpu_s=used.ru_utime + used.ru_stime,
        statuses=dict(statuses),
    )


if __name__ == "__main__":
    plan = Plan(**json.loads(sys.stdin.readline()))
    result = uvloop.run(run(plan))
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
