"""Runs a replica on the clock of an event loop and wakes those who wait for tokens.

The replica lives on its own exact time: a step starts when the one before it ended, not when a timer noticed. Timers
fire late (they are about 1 ms coarse, and the process may be busy), so what is overdue is caught up at once; beyond
`LATE_SECONDS_MAX` the replica's time is lost, and `behind_seconds` says how much. No task runs here: a submission
starts the steps, and they go on by timer while there is work.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from benchmarks.simulator.replica import Replica
from benchmarks.simulator.sequence import Job, Sequence

LATE_SECONDS_MAX = 0.05
"""Real seconds of lateness that are caught up."""
STEPS_PER_WAKE_MAX = 64
"""Steps caught up before others run; their tokens are seen together, which makes fewer and larger writes."""


class Ticket:
    """A submitted job, for the one who waits for its tokens."""

    def __init__(self, replica: Replica, sequence: Sequence) -> None:
        self.sequence = sequence
        self._replica = replica
        self._seen = 0
        self._waiter: asyncio.Future[None] | None = None

    async def beyond(self, seen: int) -> int:
        """Wait until more than `seen` tokens are generated, and return how many are."""
        while (count := self._replica.generated(self.sequence)) <= seen:
            self._seen = seen
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return count

    def wake(self) -> None:
        """Wake the one who waits, if the tokens are there."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._replica.generated(self.sequence) > self._seen:
            waiter.set_result(None)


class Driver:
    """Real time for one replica: `time_factor` real seconds pass for each second of the replica."""

    def __init__(self, replica: Replica, time_factor: float) -> None:
        self.replica = replica
        self.behind_seconds = 0.0
        """Replica time lost because the process could not keep up."""
        self._loop = asyncio.get_running_loop()
        self._origin = self._loop.time()
        self._time_factor = time_factor
        for histogram in (replica.stats.ttft, replica.stats.itl, replica.stats.e2e):
            histogram.unit = time_factor
        self._tickets: dict[Ticket, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._began_at = 0.0
        self._ends_at = inf
        self._paused = False

    def now(self) -> float:
        """Return the replica's time in seconds since its start: real time, but never outside the step under way."""
        return min(max(self._clock(), self._began_at), self._ends_at)

    @contextmanager
    def submit(self, job: Job) -> Iterator[Ticket]:
        """Run a job; leaving the block early aborts it."""
        now = self.now()
        ticket = Ticket(self.replica, self.replica.submit(job, now))
        self._tickets[ticket] = None
        self._start(now)
        try:
            yield ticket
        finally:
            del self._tickets[ticket]
            self.replica.abort(ticket.sequence)

    def pause(self) -> None:
        """Start no more steps, as a replica that hangs."""
        self._paused = True

    def resume(self) -> None:
        """Go on after a pause."""
        self._paused = False
        self._start(self.now())

    def close(self) -> None:
        """Stop for good; those who wait are left to be cancelled."""
        self._paused = True
        if self._timer is not None:
            self._timer.cancel()

    def _clock(self) -> float:
        return (self._loop.time() - self._origin) / self._time_factor

    def _start(self, now: float) -> None:
        if not self.replica.stepping and self._begin_step(now):
            self._set_timer()

    def _begin_step(self, now: float) -> bool:
        ends_at = None if self._paused else self.replica.start_step(now)
        self._began_at = now
        self._ends_at = inf if ends_at is None else ends_at
        return ends_at is not None

    def _set_timer(self) -> None:
        self._timer = self._loop.call_at(self._origin + self._ends_at * self._time_factor, self._wake)

    def _wake(self) -> None:
        clock = self._clock()
        oldest = clock - LATE_SECONDS_MAX / self._time_factor
        for _ in range(STEPS_PER_WAKE_MAX):
            ended_at = self._ends_at
            self.replica.finish_step(ended_at)
            if not self._begin_step(max(ended_at, oldest)):
                break
            self.behind_seconds += self._began_at - ended_at
            if self._ends_at > clock:
                break
        if self.replica.stepping:
            self._set_timer()
        for ticket in self._tickets:
            ticket.wake()
