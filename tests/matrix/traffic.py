"""How the matrix talks to a stack: bodies of a given size, clients that are slow or leave, and a steady load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from math import ceil
from random import Random
from string import ascii_letters
from typing import Any

import aiohttp

from benchmarks.simulator.answer import write_text
from benchmarks.simulator.fleet import SimulatedReplica
from tests.e2e.client import Answer, Site

PATH = "/v1/completions"
BACKEND_MODELS = ("llama3-8b", "phi4-mini")
ESCAPED_FROM = 2 * 2**20  # a prompt longer than the simulated KV cache is refused: six bytes of body for one of prompt
RETURN_S = 15.0


@cache
def body_of(size: int, **more: Any) -> tuple[bytes, str]:
    """A completion request of exactly `size` bytes (0: with a prompt of one byte), and its prompt."""
    head = json.dumps({"model": "auto", "max_tokens": 1, **more})[:-1].encode() + b', "prompt": "'
    room = size - len(head) - 2 if size else 1
    letters = "".join(Random(size).choices(ascii_letters, k=room))
    if size < ESCAPED_FROM:
        return head + letters.encode() + b'"}', letters
    prompt = letters[: room // 6] + letters[: room % 6]
    escaped = "".join(f"\\u{ord(c):04x}" for c in prompt[: room // 6]) + letters[: room % 6]
    return head + escaped.encode() + b'"}', prompt


def streaming(tokens: int) -> dict[str, Any]:
    """A request for an answer of so many events."""
    return {"model": "auto", "prompt": "go on", "max_tokens": tokens, "ignore_eos": True, "stream": True}


def whole(sse: bytes, tokens: int) -> bool:
    """Whether an answer has all its events, in order, and its end."""
    events = [line[6:] for line in sse.decode().splitlines() if line.startswith("data: ")]
    text = "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])
    wrote = [write_text(model, tokens).decode() for model in BACKEND_MODELS]
    return len(events) == tokens + 1 and events[-1] == "[DONE]" and text in wrote


async def trickle(body: bytes, pieces: int, seconds: float) -> AsyncIterator[bytes]:
    """A body in equal pieces over a time."""
    size = ceil(len(body) / pieces)
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(seconds / pieces)


@dataclass(slots=True)
class Told:
    """One request of a load: when it began and ended, and its status, or the name of what went wrong."""

    began: float
    ended: float = 0.0
    status: int | str = ""
    by_onehop: bool = False


class MatrixSite(Site):
    """A stack, a client of it, and what breaks it."""

    @property
    def replicas(self) -> list[SimulatedReplica]:
        return self.stack.fleet.replicas

    async def ask(self, body: Any, *, seconds: float = 30.0, length: int | None = None) -> Answer:
        """One request; `body` is data, bytes or pieces, whose `length` is announced if given."""
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        data = BytesIO(raw) if isinstance(raw, bytes) else raw
        sent = {"content-type": "application/json"} | ({} if length is None else {"content-length": str(length)})
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self.http.post(self.stack.url + PATH, data=data, headers=sent, timeout=timeout) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, found, await answer.read())

    @asynccontextmanager
    async def opened(self, body: dict[str, Any]) -> AsyncIterator[tuple[aiohttp.ClientResponse, bytes]]:
        """An answer that has begun, and its first line."""
        timeout = aiohttp.ClientTimeout(total=60)
        async with self.http.post(self.stack.url + PATH, json=body, timeout=timeout) as answer:
            yield answer, await answer.content.readline()

    async def knows(self, name: str, prompt: str) -> bool:
        """Whether a replica has computed this very prompt: all of it but the last block or two is cached."""
        replica = self.stack.fleet[name]
        asked = json.dumps({"model": replica.spec.models[0], "max_tokens": 1, "prompt": prompt}).encode()
        async with self.http.post(replica.url + PATH, data=BytesIO(asked)) as answer:
            usage = (await answer.json())["usage"]
        return bool(usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"] <= 32)

    async def connect(self, body: bytes, sent: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of one's own, to leave when one likes: request headers, and so much of the body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.stack.port)
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body[:sent])
        await writer.drain()
        return reader, writer

    @contextmanager
    def slowed(self, factor: float) -> Iterator[None]:
        """Replicas that take their time."""
        for replica in self.replicas:
            replica.slowdown = factor
        try:
            yield
        finally:
            for replica in self.replicas:
                replica.slowdown = 1.0

    async def busy(self) -> SimulatedReplica:
        """The replica that has a request, once OneHop and a replica have one."""
        await self.until(self.in_flight, lambda count: count == 1)
        await self.until(self._in_replicas, lambda count: count == 1)
        return next(replica for replica in self.replicas if replica.in_flight)

    async def streams(self) -> int:
        """ext_proc streams that are open."""
        async with self.http.get(f"{self.stack.admin_url}/debug/pools") as answer:
            open_now: int = (await answer.json())["conditions"]["streams"]["open"]
            return open_now

    async def at_rest(self) -> None:
        """Nothing is open: in the ledger, on the wire, in a replica."""
        await self.until(self._open, lambda found: not any(found))

    async def restored(self) -> None:
        """Everything that a test killed is back, and known to be."""
        for replica in self.replicas:
            if not replica.up:
                await replica.start()
        if self.stack.onehop is None or self.stack.onehop.poll() is not None:
            self.stack.start_onehop()
        await self.stack.onehop_ready(self.http)
        await self.until(self.endpoints, lambda found: all(e["reachable"] for e in found))
        await self.until(self._decided, lambda count: count == 8)

    async def kill_onehop(self) -> None:
        """SIGKILL."""
        assert self.stack.onehop is not None
        self.stack.onehop.kill()
        await asyncio.to_thread(self.stack.onehop.wait)

    async def _open(self) -> tuple[int, int, int]:
        return await self.in_flight(), await self.streams(), await self._in_replicas()

    async def _in_replicas(self) -> int:
        return sum(replica.in_flight for replica in self.replicas)

    async def _decided(self) -> int:
        """Of eight requests at once, those that OneHop decided: every worker of Envoy has to know that it is there."""
        asked = {"model": "auto", "prompt": "hello", "max_tokens": 1}
        answers = await asyncio.gather(*(self.ask(asked) for _ in range(8)))
        return sum(answer.status == 200 and "x-onehop-receipt" in answer.headers for answer in answers)


class Load:
    """Steady requests, until told to stop: small and 62,001 B, whole answers and streams."""

    def __init__(self, site: MatrixSite, per_second: float) -> None:
        self.told: list[Told] = []
        self._site = site
        self._pause = 1 / per_second
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Begin requests until `stop`, then wait for them."""
        async with asyncio.TaskGroup() as tasks:
            number = 0
            while not self._stop.is_set():
                tasks.create_task(self._one(number))
                number += 1
                await asyncio.sleep(self._pause)

    def stop(self) -> None:
        """Begin no more."""
        self._stop.set()

    async def _one(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        told = Told(loop.time())
        self.told.append(told)
        small = {"model": "auto", "prompt": f"question {number}", "max_tokens": 4}
        kinds: list[Any] = [small, streaming(20), body_of(62_001)[0]]
        try:
            answer = await self._site.ask(kinds[number % 3], seconds=20)
            told.status, told.by_onehop = answer.status, "x-onehop-receipt" in answer.headers
            if number % 3 == 1 and answer.status == 200 and not whole(answer.body, 20):
                told.status = "cut without an error"
        except (aiohttp.ClientError, TimeoutError) as error:
            told.status = type(error).__name__
        told.ended = loop.time()
