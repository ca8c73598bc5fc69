"""Many requests, one model: what waits while a batch runs becomes the next batch. Never raises, never grows.

An answer that cannot be had in time, for whatever reason, is None. The event loop only queues and hands out; the
model runs in one worker thread. Texts are pieces of a bounded length, forgotten when their batch is done; the cache
holds hashes. What a batch takes is learned, so that none keeps the next in line from its deadline, and so that who
cannot be answered in time is told so at once.
"""

import asyncio
import hashlib
import math
import time
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from semantic.pace import Pace

BATCH_TEXTS_MAX = 16
BATCH_S = 0.05
"""How long a batch may take by what is known of the model's pace: who comes next waits for it."""
TEXT_CHARACTERS_MIN = 64
"""What a text costs at least, in characters: even an empty one is looked at."""
SHORT_FIRST = 4.0
"""So many times as long as it takes itself a text lets others pass that take nothing: short ones wait little beside
long ones, which wait a bounded time more."""
WAITING_TEXTS_MAX = 1024
"""Pieces that wait at most, those of all requests together."""
RANKS = 3
"""A lower rank goes first: the ends of each text before the middle of any. Inside a rank the nearest deadline does."""
CACHE_ENTRIES_MAX = 4096


Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


class Model(Protocol[Answer_co]):
    """What the classifier needs of a model."""

    def classify(self, texts: Sequence[str]) -> Sequence[Answer_co]:
        """One answer for each text, in order."""
        ...


@dataclass(slots=True)
class Counts:
    """What happened so far, for metrics."""

    answered: int = 0
    cached: int = 0
    late: int = 0
    declined: int = 0
    """Not queued: by the model's pace they would have been late."""
    overflowed: int = 0
    failed: int = 0
    batches: int = 0


@dataclass(slots=True, eq=False)
class _Ticket(Generic[Answer]):
    text: str
    key: bytes
    deadline: float
    cost: int
    """In characters."""
    place: tuple[float, int]
    """In line: who is in a hurry goes before who has time, whoever came first."""
    rank: int
    number: int
    """Among the texts of its call."""
    call: "_Call[Answer]"

    def answer(self, result: Answer | None) -> None:
        """Hands the result over, unless the waiter has gone."""
        call = self.call
        if not call.done.done():
            call.answers[self.number] = result
            call.missing -= 1
            if not call.missing:
                call.done.set_result(None)


@dataclass(slots=True, eq=False)
class _Call(Generic[Answer]):
    """Some texts that are asked about together, and the one thing that their asker waits for.

    One future and one timer, so that the asker goes on in the turn after the deadline: where the event loop is behind,
    each further turn (of a task a text, of those who wait for these) is late by as much again.
    """

    answers: list[Answer | None]
    missing: int
    done: asyncio.Future[None]

    def expire(self) -> None:
        """The deadline has come."""
        if not self.done.done():
            self.done.set_result(None)


class _Waiting(Generic[Answer]):
    """The tickets of one rank, the nearest deadline first."""

    def __init__(self) -> None:
        self.cost = 0
        self._tickets: list[_Ticket[Answer]] = []

    def __len__(self) -> int:
        return len(self._tickets)

    @property
    def first(self) -> _Ticket[Answer]:
        return self._tickets[0]

    @property
    def last(self) -> _Ticket[Answer]:
        return self._tickets[-1]

    def before(self, ticket: _Ticket[Answer]) -> int:
        """What stands before where the ticket would, in characters."""
        at = bisect_left(self._tickets, ticket.place, key=lambda t: t.place)
        return self.cost if at == len(self._tickets) else sum(t.cost for t in self._tickets[:at])

    def add(self, ticket: _Ticket[Answer]) -> None:
        insort(self._tickets, ticket, key=lambda t: t.place)
        self.cost += ticket.cost

    def drop(self, ticket: _Ticket[Answer]) -> None:
        """Takes it out; nothing happens when it is not there."""
        at = bisect_left(self._tickets, ticket.place, key=lambda t: t.place)
        if at < len(self._tickets) and self._tickets[at] is ticket:
            del self._tickets[at]
            self.cost -= ticket.cost


@dataclass(slots=True)
class _Cache(Generic[Answer]):
    """The last results by text hash; the oldest unused goes first."""

    entries_max: int
    entries: OrderedDict[bytes, Answer] = field(default_factory=OrderedDict)

    def get(self, key: bytes) -> Answer | None:
        found = self.entries.get(key)
        if found is not None:
            self.entries.move_to_end(key)
        return found

    def put(self, key: bytes, value: Answer) -> None:
        self.entries[key] = value
        self.entries.move_to_end(key)
        if len(self.entries) > self.entries_max:
            self.entries.popitem(last=False)


class Classifier(Generic[Answer]):
    """Batches texts across requests, with a deadline for each."""

    def __init__(
        self,
        model: Model[Answer],
        *,
        batch_texts_max: int = BATCH_TEXTS_MAX,
        waiting_texts_max: int = WAITING_TEXTS_MAX,
        cache_entries_max: int = CACHE_ENTRIES_MAX,
    ) -> None:
        """Starts idle; the worker thread starts with the first batch."""
        self.counts = Counts()
        self._model = model
        self._batch_texts_max = batch_texts_max
        self._waiting_texts_max = waiting_texts_max
        self._waiting: tuple[_Waiting[Answer], ...] = tuple(_Waiting() for _ in range(RANKS))
        self._tickets = 0
        self._cache: _Cache[Answer] = _Cache(cache_entries_max)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="semantic")
        self._running: list[_Ticket[Answer]] = []
        self._running_until = 0.0
        self._closed = False
        self.pace = Pace()

    async def classify(self, text: str, deadline: float, rank: int = 0) -> Answer | None:
        """The model's answer, or None after `deadline` (the event loop's clock), on overflow or on failure."""
        return (await self.classify_all([text], deadline, [rank]))[0]

    async def classify_all(self, texts: Sequence[str], deadline: float, ranks: Sequence[int]) -> list[Answer | None]:
        """The model's answer to each, or None after `deadline` (the event loop's clock), on overflow or on failure.

        None at once where, by the model's pace, those before it take until the deadline.

        What waits with a lower rank goes first. Where no place is left, the last in line gives up its own to who
        would stand before it: calls that have time cannot keep requests out.
        """
        loop = asyncio.get_running_loop()
        call: _Call[Answer] = _Call([None] * len(texts), len(texts), loop.create_future())
        asked: list[_Ticket[Answer]] = []
        for number, (text, rank) in enumerate(zip(texts, ranks, strict=True)):
            ticket = self._ask(text, deadline, min(rank, RANKS - 1), (number, call))
            asked += [] if ticket is None else [ticket]
        if not asked or call.done.done():
            return call.answers
        timer = loop.call_at(deadline, call.expire)
        try:
            await call.done
        finally:
            timer.cancel()
            # A waiter that timed out or was cancelled leaves the queue at once, so that it holds no place.
            for ticket in asked:
                self._waiting[ticket.rank].drop(ticket)
        self.counts.late += call.missing
        return call.answers

    def _ask(self, text: str, deadline: float, rank: int, to: tuple[int, _Call[Answer]]) -> _Ticket[Answer] | None:
        """The text's ticket in the queue; None where its answer, or that there will be none, is known already."""
        loop, (number, call) = asyncio.get_running_loop(), to
        now = loop.time()
        key = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        self._tickets += 1
        cost = max(len(text), TEXT_CHARACTERS_MIN)
        place = (deadline + SHORT_FIRST * self.pace.takes(cost), self._tickets)
        ticket: _Ticket[Answer] = _Ticket(text, key, deadline, cost, place, rank, number, call)
        cached = self._cache.get(key)
        if cached is not None:
            self.counts.cached += 1
        elif self._closed or now >= deadline:
            self.counts.late += 1
        elif self._is_hopeless(rank, ticket, now):
            self.counts.declined += 1
        elif not self._has_room(rank, ticket):
            self.counts.overflowed += 1
        else:
            self._waiting[rank].add(ticket)
            self._start(loop)
            return ticket
        ticket.answer(cached)
        return None

    def within(self, seconds: float) -> float:
        """How many characters the model reads in so many seconds, were it asked for nothing else."""
        return seconds / self.pace.character_s if self.pace.character_s else math.inf

    def close(self) -> None:
        """Answers whoever waits with None and lets the worker go. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        for waiting in self._waiting:
            while waiting:
                ticket = waiting.first
                waiting.drop(ticket)
                ticket.answer(None)
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _is_hopeless(self, rank: int, ticket: _Ticket[Answer], now: float) -> bool:
        """Whether it would be late even if nobody came before it any more. Who finds nobody at work always has hope."""
        if not self._running:
            return False
        before = sum(waiting.cost for waiting in self._waiting[:rank]) + self._waiting[rank].before(ticket)
        return max(now, self._running_until) + self.pace.takes(before + ticket.cost) > ticket.deadline

    def _has_room(self, rank: int, ticket: _Ticket[Answer]) -> bool:
        """Whether the ticket may wait; the last in line is sent away for it if that stands behind it."""
        if sum(map(len, self._waiting)) < self._waiting_texts_max:
            return True
        behind = max((n for n, waiting in enumerate(self._waiting) if waiting), default=-1)
        if behind < rank or (behind == rank and self._waiting[behind].last.place <= ticket.place):
            return False
        last = self._waiting[behind].last
        self._waiting[behind].drop(last)
        self.counts.overflowed += 1
        last.answer(None)
        return True

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sends the next batch to the worker, unless one is there already."""
        if self._running or self._closed:
            return
        batch = self._next_batch(loop.time())
        if not batch:
            return
        self._running = batch
        self._running_until = loop.time() + self.pace.takes(sum(ticket.cost for ticket in batch))
        self.counts.batches += 1
        done = loop.run_in_executor(self._worker, self._timed, [ticket.text for ticket in batch])
        done.add_done_callback(lambda future: self._finished(loop, batch, future))

    def _timed(self, texts: Sequence[str]) -> tuple[Sequence[Answer], float]:
        """In the worker: the answers, and how long they took."""
        began = time.perf_counter()
        return self._model.classify(texts), time.perf_counter() - began

    def _next_batch(self, now: float) -> list[_Ticket[Answer]]:
        batch: list[_Ticket[Answer]] = []
        longest, room = 0, self.pace.room(BATCH_S)
        while len(batch) < self._batch_texts_max:
            waiting = next((queue for queue in self._waiting if queue), None)
            if waiting is None:
                break
            ticket = waiting.first
            longest = max(longest, ticket.cost)
            if batch and longest * (len(batch) + 1) > room:
                break
            waiting.drop(ticket)
            # Nobody waits for these any more; the model must not either.
            if ticket.deadline > now and not ticket.call.done.done():
                batch.append(ticket)
        return batch

    def _finished(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_Ticket[Answer]],
        done: "asyncio.Future[tuple[Sequence[Answer], float]]",
    ) -> None:
        self._running = []
        if done.cancelled() or done.exception() is not None:
            self.counts.failed += len(batch)
            for ticket in batch:
                ticket.answer(None)
        else:
            results, seconds = done.result()
            self.pace.learn(sum(ticket.cost for ticket in batch), seconds)
            for ticket, result in zip(batch, results, strict=True):
                self.counts.answered += 1
                self._cache.put(ticket.key, result)
                ticket.answer(result)
        self._start(loop)
