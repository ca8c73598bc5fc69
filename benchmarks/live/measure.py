"""One slice: generators at work on one target, and who used what meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.live.cases import Case, deal
from benchmarks.live.generators import Generators
from benchmarks.live.judged import Judge, Judged
from benchmarks.live.messages import Plan, Result, Shot
from benchmarks.live.process import cpu_s, forget_peak, peak_bytes, rss_bytes
from benchmarks.live.site import ext_proc_counter
from benchmarks.live.target import Target
from benchmarks.workloads.text import BYTES_PER_TOKEN

SETTLE_S = 0.05  # until the end of the last request has reached the picker
HOLD_S_MAX = 60.0
HOLD_STILL_S = 0.5  # without a message
HOLD_UNSEEN_S = 2.0  # where nobody counts who has got through


@dataclass(frozen=True, slots=True)
class Asking:
    """What is the same for all requests of a run."""

    model: str
    timeout_s: float
    ignore_eos: bool
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Slice:
    """What came of it. CPU in seconds by role, without what the role uses when nobody asks anything."""

    case: Case
    target: Target
    round: int
    results: list[Result]
    seconds: float
    cpu_s: dict[str, float]
    messages: int
    rss: dict[str, int]
    judged: Judged | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """So many requests to be open at once, each with a prompt of that size."""

    streams: int
    prompt_bytes: int = 1024


@dataclass(slots=True)
class Held:
    """Resident bytes by role with those requests open, and the most until then."""

    target: str
    hold: Hold
    rss: dict[str, int]
    peak: dict[str, int]


class Slices:
    """Plays slices, each with prompts that no other has."""

    def __init__(self, generators: Generators, asking: Asking, servers: int | None, judge: Judge | None = None) -> None:
        self._generators = generators
        self._asking = asking
        self._servers = servers
        self._judge = judge
        self._played = 0

    async def idle(self, target: Target, seconds: float) -> dict[str, float]:
        """CPU seconds a second of each role while nobody asks."""
        before, began = self._used(target), time.monotonic()
        await asyncio.sleep(seconds)
        after, took = self._used(target), time.monotonic() - began
        return {role: (after[role] - before[role]) / took for role in before}

    async def play(self, case: Case, target: Target, number: int, idle: Mapping[str, float]) -> Slice:
        """One slice, in which whatever is asked is answered or given up."""
        shots = case.shots(number)
        dealt = deal(shots, len(self._generators))
        if case.connections:  # every generator has all shots, as each makes its prompts its own
            dealt = [shots] * len(self._generators)
        self._played += 1
        await self._generators.prepare([self._plan(case, target, part, hand) for hand, part in enumerate(dealt)])
        judge = self._judge if case.judged else None
        looked, found = await judge.cached() if judge else (0.0, 0.0)
        messages, before = ext_proc_counter(target, "stream_msgs_sent"), self._used(target)
        began = time.monotonic()
        results = await self._generators.go()
        await asyncio.sleep(SETTLE_S)
        took, after = time.monotonic() - began, self._used(target)
        judged = None
        if judge is not None:
            looked_now, found_now = await judge.cached()
            met = sum(judge.met(part, result) for part, result in zip(dealt, results, strict=True))
            judged = Judged(met, looked_now - looked, found_now - found)
        return Slice(
            case,
            target,
            number,
            results,
            max(result.seconds for result in results),
            {role: max(0.0, after[role] - before[role] - idle.get(role, 0.0) * took) for role in before},
            ext_proc_counter(target, "stream_msgs_sent") - messages,
            {role: rss_bytes(pid) for role, pid in target.processes.items()},
            judged,
        )

    async def hold(self, target: Target, hold: Hold) -> Held:
        """Requests open at once, with servers that do not answer."""
        started = ext_proc_counter(target, "streams_started")
        tokens = hold.prompt_bytes // BYTES_PER_TOKEN
        shot = Shot(0.0, tokens, 1, (0,))
        plan = self._base(target, shots=[shot], seconds=0.0, block_tokens=tokens, connections=hold.streams, hold=True)
        nobody = self._base(target, shots=[], seconds=0.0)
        for pid in target.processes.values():
            forget_peak(pid)
        await self._generators.prepare([plan, *[nobody] * (len(self._generators) - 1)])
        try:
            async with asyncio.timeout(HOLD_S_MAX):
                while target.ext_proc and ext_proc_counter(target, "streams_started") - started < hold.streams:
                    await asyncio.sleep(0.1)
                await self._still(target)
            pids = target.processes.items()
            rss, peak = ({role: measure(pid) for role, pid in pids} for measure in (rss_bytes, peak_bytes))
            return Held(target.name, hold, rss, peak)
        finally:
            await self._generators.go()

    async def _still(self, target: Target) -> None:
        """Until bodies are through, by what the picker is told and says."""
        if not target.ext_proc:
            await asyncio.sleep(HOLD_UNSEEN_S)
            return
        before = -1.0
        while before != (before := ext_proc_counter(target, "stream_msgs_sent")):
            await asyncio.sleep(HOLD_STILL_S)

    def _plan(self, case: Case, target: Target, shots: list[Shot], hand: int) -> Plan:
        hands = len(self._generators)
        last = max((shot.at for shot in shots), default=0.0)
        return self._base(
            target,
            shots=shots,
            # What follows an answer comes at no time that is known, so a slice has as long again.
            seconds=case.seconds if case.connections else 2 * last + self._asking.timeout_s,
            block_tokens=case.block_tokens,
            part=self._played * hands + hand,
            stream=case.stream,
            connections=-(-case.connections // hands),
            warm_s=min(0.5, case.seconds / 4) if case.connections else 0.0,
            pause_ms=case.pause_ms,
        )

    def _base(self, target: Target, **more: object) -> Plan:
        given: dict[str, object] = {
            "address": target.address,
            "path": target.path,
            "host": target.host,
            "tls_name": target.tls_name,
            "model": self._asking.model,
            "timeout_s": self._asking.timeout_s,
            "ignore_eos": self._asking.ignore_eos,
            "headers": self._asking.headers,
            **more,
        }
        return Plan(**given)  # type: ignore[arg-type]  # each value is a field's, by name

    def _used(self, target: Target) -> dict[str, float]:
        pids = dict(target.processes)
        if self._servers is not None:
            pids["servers"] = self._servers
        return {role: cpu_s(pid) for role, pid in pids.items()}
