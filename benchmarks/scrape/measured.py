"""The process that is measured: reads the ports for some seconds and prints what that cost it, as JSON.

It writes a line when it has warmed up and one at the end, so that reads can be counted where they arrive.

It uses nothing of us but the scraper, and only what an older one had too, so that it can run on another checkout.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from random import Random
from typing import Any

import aiohttp
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from epp.datastore.pool import Listed, Pool
from epp.edge.scrape import Scraper

WARM_S = 2.0


async def ours(ports: list[int], interval_s: float, seconds: float) -> dict[str, Any]:
    """The scraper of whichever checkout is on the path."""
    pool = Pool()
    pool.relist([Listed(f"e{port}", f"127.0.0.1:{port}") for port in ports])
    scraper = Scraper(pool, now=time.monotonic, interval_s=interval_s, rng=Random(1))
    task = asyncio.create_task(scraper.run())
    while not scraper.settled:
        await asyncio.sleep(0.05)
    found = await _cost(seconds)
    ages = [time.monotonic() - e.load.at for e in pool.endpoints if e.load is not None]
    errors = dict(scraper.errors)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return {**found, "endpoints_read": len(ages), "oldest_sample_s": round(max(ages), 3), "errors": errors}


async def everything(ports: list[int], interval_s: float, seconds: float) -> dict[str, Any]:
    """A client library's GET, and its parser over the whole text, for each endpoint and interval."""

    async def follow(http: aiohttp.ClientSession, port: int) -> None:
        while True:
            async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                text = (await answer.read()).decode()
            families = {family.name: family for family in text_string_to_metric_families(text)}
            assert families["vllm:num_requests_waiting"].samples
            await asyncio.sleep(interval_s)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        tasks = [asyncio.create_task(follow(http, port)) for port in ports]
        found = await _cost(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _cost(seconds: float) -> dict[str, Any]:
    """Fraction of one core, once it has warmed up."""
    await asyncio.sleep(WARM_S)
    _say("begin")
    cpu, wall = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    _say("end")
    return {"cpu_s": round(cpu, 4), "seconds": round(wall, 3)}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    what, interval, duration, ports = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), json.loads(sys.argv[4])
    run = {"ours": ours, "everything": everything}[what]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _say(json.dumps(runner.run(run(ports, interval, duration))))
