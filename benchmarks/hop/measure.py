"""One measurement: clients at work for a while, and who used what meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass

from benchmarks.hop.load import Plan, Result
from benchmarks.hop.process import cpu_s, rss_bytes
from benchmarks.hop.site import Site

REQUEST_MESSAGES = {"buffered": 3, "duplex": 4}  # to the picker for each request, beside the answer's body
HOLD_S_MAX = 60.0


@dataclass
class Row:
    """Seconds and bytes; None where nobody can tell. `added` is against no picker, filled in when that is known."""

    picker: str
    wiring: str
    case: str
    requests_per_s: float
    p50_s: float
    p99_s: float
    picker_cpu_s: float | None
    envoy_cpu_s: float
    client_cpu_s: float
    messages: float
    picker_cpu_per_message_s: float | None
    statuses: dict[str, int]
    added_p50_s: float | None = None
    added_p99_s: float | None = None


@dataclass
class Memory:
    """Resident bytes with so many streams open."""

    picker: str
    wiring: str
    streams: int
    picker_rss: int | None
    envoy_rss: int


async def measure(site: Site, wiring: str, case: str, plan: Plan) -> Row:
    """Everything per request, over the whole time the clients ran."""
    envoy, picker = cpu_s(site.envoy.pid), cpu_s(site.picker) if site.picker else None
    messages = site.stat("stream_msgs_sent")
    result = await _clients(plan)
    requests = max(1, result.requests)
    sent = site.stat("stream_msgs_sent") - messages
    used = None if picker is None or site.picker is None else cpu_s(site.picker) - picker
    return Row(
        site.name,
        wiring,
        case,
        result.counted / result.seconds,
        result.p50_s,
        result.p99_s,
        None if used is None else used / requests,
        (cpu_s(site.envoy.pid) - envoy) / requests,
        result.cpu_s / requests,
        sent / requests,
        None if used is None or not sent else used / sent,
        result.statuses,
    )


async def hold(site: Site, wiring: str, streams: int) -> Memory:
    """So many requests open at once."""
    started = site.stat("streams_started")
    process = await _start(Plan(site.port, streams, 0, 1024, "hold"))
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(HOLD_S_MAX):
            await process.stdout.readline()
            while site.picker and site.stat("streams_started") - started < streams:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        picker = rss_bytes(site.picker) if site.picker else None
        return Memory(site.name, wiring, streams, picker, rss_bytes(site.envoy.pid))
    finally:
        process.stdin.close()
        await process.wait()


async def _clients(plan: Plan) -> Result:
    process = await _start(plan)
    out, _ = await process.communicate()
    return Result(**json.loads(out))


async def _start(plan: Plan) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.hop.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write((json.dumps(asdict(plan)) + "\n").encode())
    await process.stdin.drain()
    return process
