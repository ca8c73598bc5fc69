"""The questions of `facts`: what is broken, what a client then asks, and how what it gets is told in a line."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp

from benchmarks.simulator.fleet import SimulatedFleet
from benchmarks.workloads.text import text

BODY_SHOWN = 160
PROMPT_BYTES = 400
HEADERS_SHOWN = ("retry-after", "x-llm-d-request-dropped-reason")
SEQUENTIAL, BURST = 30, 240
WATCH_S = 5.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A chain that works, before servers that can be broken."""

    url: str
    model: str
    http: aiohttp.ClientSession
    servers: SimulatedFleet


@dataclass(frozen=True, slots=True)
class Condition:
    """What is played; the answer is a line."""

    name: str
    play: Callable[[Scene], Awaitable[str]]
    spoils: bool = True
    """Whether the scene is of no use afterwards."""


@dataclass(frozen=True, slots=True)
class Got:
    """What one request came to; `status` is 0 where no answer began, `whole` where the stream said that it is over."""

    status: int
    body: str
    headers: str
    first_s: float
    whole: bool

    @property
    def said(self) -> str:
        """In a line."""
        shown = " ".join(self.body.split())
        shown = shown if len(shown) <= BODY_SHOWN else shown[:BODY_SHOWN] + "..."
        return f"{self.status or 'no answer'}{self.headers}, `{shown or '(nothing)'}`"


async def ask(scene: Scene, tokens: int = 8, prompt: str = "hello", *, stream: bool = False, raw: bytes = b"") -> Got:
    """One request; `raw` in place of a body that is in order."""
    said = {"model": scene.model, "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens}
    body = raw or json.dumps({**said, "stream": stream, "ignore_eos": True}).encode()
    began, status, first, parts, headers = time.monotonic(), 0, 0.0, list[bytes](), ""
    try:
        async with scene.http.post(scene.url, data=body, headers={"content-type": "application/json"}) as answer:
            status = answer.status
            headers = "".join(f", {name}: {answer.headers[name]}" for name in HEADERS_SHOWN if name in answer.headers)
            async for part in answer.content.iter_any():
                first = first or time.monotonic() - began
                parts.append(part)
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as wrong:
        parts.append(f" [{type(wrong).__name__}]".encode())
        return Got(status, b"".join(parts).decode(errors="replace"), headers, first, whole=False)
    told = b"".join(parts).decode(errors="replace")
    return Got(status, told, headers, first, whole=not stream or status != 200 or "data: [DONE]" in told)


def _prompt(number: int, size: int = PROMPT_BYTES) -> str:
    """Which begins like no other: what shares its beginning would go to one server by some policies."""
    return text(number, size).decode()


def counted(answers: Sequence[Got]) -> str:
    """How many of each status."""
    found = Counter(f"{one.status or 'no answer'}{'' if one.whole else ' (cut)'}" for one in answers)
    return ", ".join(f"{count} x {status}" for status, count in sorted(found.items()))


def _first_bad(answers: Sequence[Got]) -> str:
    bad = next((one for one in answers if one.status != 200 or not one.whole), None)
    return "" if bad is None else f"; the first of the others: {bad.said}"


async def _malformed(scene: Scene) -> str:
    return (await ask(scene, raw=b'{"model": "llama3-8b", "messages": [{"role": "user"')).said


async def _unknown_model(scene: Scene) -> str:
    asked = {"model": "no-such-model", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    return (await ask(scene, raw=json.dumps(asked).encode())).said


async def _auto(scene: Scene) -> str:
    asked = {"model": "auto", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    got = await ask(scene, raw=json.dumps(asked).encode())
    return f"200, answered by {json.loads(got.body).get('model')}" if got.status == 200 else got.said


async def _large(scene: Scene) -> str:
    got = await ask(scene, prompt="the quick brown fox " * 20_480)  # 400 KB
    return f"200, {json.loads(got.body)['usage']['prompt_tokens']:,} prompt tokens" if got.status == 200 else got.said


async def _dead(scene: Scene) -> str:
    await scene.servers.kill("replica-1")
    answers = [await ask(scene, prompt=_prompt(n)) for n in range(SEQUENTIAL)]
    return counted(answers) + _first_bad(answers)


async def _all_dead(scene: Scene) -> str:
    for replica in scene.servers.replicas:
        await scene.servers.kill(replica.name)
    began = time.monotonic()
    got = await ask(scene)
    return f"{got.said} after {time.monotonic() - began:.1f} s"


async def _dies_in_the_middle(scene: Scene) -> str:
    asked = [asyncio.create_task(ask(scene, 600, _prompt(n), stream=True)) for n in range(3)]
    await _begun(scene, 3)
    busy = next(replica for replica in scene.servers.replicas if replica.in_flight)
    had = busy.in_flight
    await scene.servers.kill(busy.name)
    answers = await asyncio.gather(*asked)
    cut = [one for one in answers if not one.whole or one.status != 200]
    last = f"; the end of one: `...{' '.join(cut[0].body[-90:].split())}`" if cut else ""
    return f"{had} were on it: {counted(answers)}{last}"


async def _one_fails(scene: Scene) -> str:
    scene.servers["replica-1"].trouble = 503
    answers = [await ask(scene, prompt=_prompt(n)) for n in range(SEQUENTIAL)]
    return counted(answers) + _first_bad(answers)


async def _all_fail(scene: Scene) -> str:
    for replica in scene.servers.replicas:
        replica.trouble = 503
    seen = sum(replica.requests_seen for replica in scene.servers.replicas)
    got = await ask(scene)
    seen = sum(replica.requests_seen for replica in scene.servers.replicas) - seen
    return f"{got.said}; the servers were asked {seen} times"


async def _one_slow(scene: Scene) -> str:
    scene.servers["replica-1"].slowdown = 20.0
    before = {replica.name: replica.requests_seen for replica in scene.servers.replicas}
    asked = []
    for n in range(60):
        asked.append(asyncio.create_task(ask(scene, 30, _prompt(n), stream=True)))
        await asyncio.sleep(0.1)
    answers = await asyncio.gather(*asked)
    share = scene.servers["replica-1"].requests_seen - before["replica-1"]
    return f"{counted(answers)}; the slow one got {share} of {len(asked)}"


async def _burst(scene: Scene) -> str:
    asked = [ask(scene, 400, _prompt(n, 6_400), stream=True) for n in range(BURST)]
    answers = await asyncio.gather(*asked)
    whole = sorted(one.first_s for one in answers if one.status == 200 and one.whole)
    late = f"; first token of the 200s: median {whole[len(whole) // 2]:.1f} s, last {whole[-1]:.1f} s" if whole else ""
    return f"{counted(answers)}{late}{_first_bad(answers)}"


async def _leaves(scene: Scene) -> str:
    asked = asyncio.create_task(ask(scene, 4_000, stream=True))
    await _begun(scene, 1)
    asked.cancel()
    began = time.monotonic()
    while any(replica.in_flight for replica in scene.servers.replicas):
        if time.monotonic() - began > WATCH_S:
            return f"the server still generates {WATCH_S:.0f} s later"
        await asyncio.sleep(0.02)
    return f"the server has stopped within {max(0.1, time.monotonic() - began):.1f} s"


async def _begun(scene: Scene, count: int) -> None:
    """Until so many are being answered, and have some tokens."""
    async with asyncio.timeout(30):
        while sum(replica.in_flight for replica in scene.servers.replicas) < count:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


CONDITIONS = (
    Condition("a body that is no JSON", _malformed, spoils=False),
    Condition("a model that nobody serves", _unknown_model, spoils=False),
    Condition('"model": "auto"', _auto, spoils=False),
    Condition("a prompt of 400 KB", _large, spoils=False),
    Condition("the client leaves in the middle of a stream", _leaves, spoils=False),
    Condition(f"one of 3 servers is dead, {SEQUENTIAL} requests one after another", _dead),
    Condition("all servers are dead", _all_dead),
    Condition("a server dies in the middle of 3 streams", _dies_in_the_middle),
    Condition(f"one server answers 503, {SEQUENTIAL} requests one after another", _one_fails),
    Condition("all servers answer 503", _all_fail),
    Condition("one server is 20 times slower, 60 requests in 6 s", _one_slow),
    Condition(f"{BURST} requests at once before 24 places", _burst),
)
