"""How a test talks to a running stack."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import aiohttp

from epp.cli.stack import Stack

PATIENCE_S = 30.0


@dataclass(slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def chat(model: str, text: str = "hello there", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}


class Site:
    """A stack and a client of it."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.http = http

    async def post(self, data: object, path: str = "/v1/chat/completions", **headers: str) -> Answer:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        sent = {"content-type": "application/json", **headers}
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with self.http.post(self.stack.url + path, data=BytesIO(raw), headers=sent, timeout=timeout) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, found, await answer.read())

    async def endpoints(self) -> list[dict[str, Any]]:
        async with self.http.get(f"{self.stack.admin_url}/debug/pools") as answer:
            endpoints: list[dict[str, Any]] = (await answer.json())["pools"][0]["endpoints"]
            return endpoints

    async def receipt(self, answer: Answer) -> dict[str, Any]:
        url = f"{self.stack.admin_url}/debug/decisions/{answer.headers['x-onehop-receipt']}"
        async with self.http.get(url) as found:
            receipt: dict[str, Any] = await found.json()
            return receipt

    async def in_flight(self) -> int:
        """Open leases by OneHop's own count."""
        return sum(e["inflight_requests"] for e in await self.endpoints())

    async def idle(self) -> None:
        """Until OneHop has no open lease."""
        await self.until(self.in_flight, lambda count: count == 0)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Replicas that accept requests and compute nothing."""
        for replica in self.stack.fleet.replicas:
            replica.driver.pause()
        try:
            yield
        finally:
            for replica in self.stack.fleet.replicas:
                if replica.up:
                    replica.driver.resume()

    async def until(self, ask: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
        """The first good value; fails with the last one seen."""
        ends = asyncio.get_running_loop().time() + PATIENCE_S
        while not good(value := await ask()):
            assert asyncio.get_running_loop().time() < ends, f"still {value!r}"
            await asyncio.sleep(0.02)
        return value

    def replica_of(self, answer: Answer) -> str:
        """The model of the replica that answered."""
        return answer.headers["x-simulated-replica"].rpartition("-")[0]
