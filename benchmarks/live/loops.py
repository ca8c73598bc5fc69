"""The three ways to ask: each request at its time, each as soon as the one before was answered, or all held open.

Must stay true: every shot of an open loop ends in exactly one sample; its latency counts from the time it was meant to
be sent, so that a stall of whatever is measured is in the numbers of all who would have asked meanwhile.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from abc import ABC, abstractmethod
from array import array
from collections import deque
from contextlib import suppress
from heapq import heapify, heappop, heappush

from benchmarks.live.alarm import Alarm
from benchmarks.live.body import Writer
from benchmarks.live.connection import Connection, Flight
from benchmarks.live.messages import NO_CONNECTION, NOT_SENT, TIMEOUT, Plan, Sample

WARM_CONNECTIONS_MAX, WARM_SECONDS_MAX = 64, 5.0
SWEEP_S = 0.1  # how often timeouts are looked for
RETRY_S = 0.05  # a closed loop whose connection failed asks again no sooner


class Loop(ABC):
    """What all have: connections, flights under way, samples."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.samples: list[Sample] = []
        self.gaps = array("f")
        self._writer = Writer(plan)
        self._tls = ssl.create_default_context() if plan.tls_name else None
        self._idle: deque[Connection] = deque()
        self._under_way: dict[Flight, Connection | None] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._began = 0.0
        self._ended = asyncio.Event()

    async def open(self) -> None:
        """Connect ahead of time. Where nobody listens, that shows in the samples."""
        with suppress(OSError):
            async with asyncio.timeout(WARM_SECONDS_MAX):
                for _ in range(self._warm()):
                    self._idle.append(await self._connect())

    @abstractmethod
    async def run(self) -> float:
        """Play; seconds that it took."""

    def close(self) -> None:
        """Every connection."""
        for dial in self._dials:
            dial.cancel()
        for connection in (*self._idle, *self._under_way.values()):
            if connection is not None:
                connection.abort()

    def _warm(self) -> int:
        return min(WARM_CONNECTIONS_MAX, len(self.plan.shots))

    async def _connect(self) -> Connection:
        host, port = self.plan.address
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._over), host, port, ssl=self._tls, server_hostname=self.plan.tls_name
        )
        return connection

    def _send(self, flight: Flight, request: bytes) -> None:
        """On a connection that is free, or on a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                self._under_way[flight] = connection
                connection.ask(flight, request)
                return
        self._under_way[flight] = None
        dial = asyncio.get_running_loop().create_task(self._dial(flight, request))
        self._dials.add(dial)
        dial.add_done_callback(self._dials.discard)

    async def _dial(self, flight: Flight, request: bytes) -> None:
        try:
            connection = await self._connect()
        except OSError:
            if flight in self._under_way:
                self._failed(flight, NO_CONNECTION)
            return
        if flight not in self._under_way:  # given up meanwhile
            connection.abort()
            return
        self._under_way[flight] = connection
        connection.ask(flight, request)

    def _over(self, connection: Connection, flight: Flight, why: str | None, now: float) -> None:
        del self._under_way[flight]
        sample = flight.failed(self._began, why) if why else flight.sample(self._began, now, stream=self.plan.stream)
        if connection.open and why is None:
            self._idle.append(connection)
        self._keep(flight, sample, now)

    def _failed(self, flight: Flight, why: str) -> None:
        self._under_way.pop(flight, None)
        self._keep(flight, flight.failed(self._began, why), time.monotonic())

    def _keep(self, flight: Flight, sample: Sample, now: float) -> None:
        self.samples.append(sample)

    def _sweep(self, timeout_s: float) -> None:
        """Give up what takes too long."""
        now = time.monotonic()
        for flight, connection in list(self._under_way.items()):
            if now - flight.due <= timeout_s:
                continue
            if connection is None:
                self._failed(flight, TIMEOUT)
            else:
                connection.give_up(TIMEOUT)


class OpenLoop(Loop):
    """Each shot at its time, however many are under way."""

    async def run(self) -> float:
        self._left = len(self.plan.shots)
        self._due = [(shot.at, n) for n, shot in enumerate(self.plan.shots) if shot.after is None]
        heapify(self._due)
        self._followers: dict[int, list[int]] = {}
        for n, shot in enumerate(self.plan.shots):
            if shot.after is not None:
                self._followers.setdefault(shot.after, []).append(n)
        self._ready: tuple[int, bytes] | None = None
        self._alarm = Alarm(self._fire)
        self._began = time.monotonic()
        try:
            self._set()
            await self._until_over()
        finally:
            self._alarm.close()
        return time.monotonic() - self._began

    async def _until_over(self) -> None:
        ends = self._began + self.plan.seconds
        while self._left and time.monotonic() < ends:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), min(SWEEP_S, max(0.0, ends - time.monotonic())))
            self._sweep(self.plan.timeout_s)
        self._sweep(-1.0)
        while self._due:
            self._skip(heappop(self._due))

    def _set(self) -> None:
        """The next request is made before its time, not at it."""
        if self._due:
            at, n = self._due[0]
            if self._ready is None or self._ready[0] != n:
                self._ready = (n, self._writer.request(self.plan.shots[n]))
            self._alarm.set(self._began + at)

    def _fire(self) -> None:
        while self._due and self._began + self._due[0][0] <= time.monotonic():
            at, n = heappop(self._due)
            if len(self._under_way) >= self.plan.in_flight_max:
                self._skip((at, n))
                continue
            ready, self._ready = self._ready, None
            request = ready[1] if ready and ready[0] == n else self._writer.request(self.plan.shots[n])
            self._send(Flight(n, self._began + at, self.gaps), request)
        self._set()

    def _skip(self, due: tuple[float, int]) -> None:
        at, n = due
        flight = Flight(n, self._began + at, self.gaps)
        self._keep(flight, flight.failed(self._began, NOT_SENT), time.monotonic())

    def _keep(self, flight: Flight, sample: Sample, now: float) -> None:
        super()._keep(flight, sample, now)
        for n in self._followers.pop(flight.shot, ()):
            shot = self.plan.shots[n]
            heappush(self._due, (max(shot.at, flight.due + shot.gap_s - self._began, now - self._began), n))
            self._set()
        self._left -= 1
        if not self._left:
            self._ended.set()


class ClosedLoop(Loop):
    """Each connection asks again as soon as it was answered, until the time is over; then the last answers come."""

    async def run(self) -> float:
        self._asked = 0
        self._over_at = float("inf")
        self._began = time.monotonic()
        self._over_at = self._began + self.plan.seconds
        for _ in range(self.plan.connections):
            self._ask()
        while time.monotonic() < self._over_at or self._under_way:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), SWEEP_S)
                break
            self._sweep(self.plan.timeout_s)
        return time.monotonic() - self._began

    def _warm(self) -> int:
        return self.plan.connections

    def _ask(self) -> None:
        copy, n = divmod(self._asked, len(self.plan.shots))
        self._asked += 1
        request = self._writer.request(self.plan.shots[n], copy)
        self._send(Flight(n, time.monotonic(), self.gaps), request)

    def _keep(self, flight: Flight, sample: Sample, now: float) -> None:
        super()._keep(flight, sample, now)
        if now >= self._over_at:
            if not self._under_way:
                self._ended.set()
        elif sample.status.isdigit():
            self._ask()
        else:
            asyncio.get_running_loop().call_later(RETRY_S, self._ask_unless_over)

    def _ask_unless_over(self) -> None:
        if time.monotonic() < self._over_at:
            self._ask()


class Held(Loop):
    """A request on each connection that is not answered, until told to go."""

    async def open(self) -> None:
        for _ in range(self.plan.connections):
            self._under_way[Flight(0, 0.0, self.gaps)] = await self._connect()
        request = self._writer.request(self.plan.shots[0])
        for flight, connection in self._under_way.items():
            assert connection is not None
            connection.ask(flight, request)
        await asyncio.sleep(0)  # written at the end of the loop's turn

    async def run(self) -> float:
        return 0.0
