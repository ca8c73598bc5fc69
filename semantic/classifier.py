"""Many requests, one model: what waits while a batch runs becomes the next batch. Never raises, never grows.

An answer that cannot be had in time, for whatever reason, is None. The event loop only queues and hands out; the
model runs in one worker thread. Texts are pieces of a bounded length, forgotten when their batch is done; the cache
holds hashes.
"""

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

BATCH_TEXTS_MAX = 16
BATCH_CHARACTERS_MAX = 12_000
"""Texts times the longest of them: keeps a batch, which is padded to its longest text, within a deadline's reach."""
WAITING_TEXTS_MAX = 1024
"""Pieces that wait at most, those of all requests together."""
RANKS = 3
"""A lower rank goes first: the ends of each text before the middle of any."""
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
    overflowed: int = 0
    failed: int = 0
    batches: int = 0


@dataclass(slots=True, eq=False)
class _Ticket(Generic[Answer]):
    text: str
    key: bytes
    deadline: float
    answer: asyncio.Future[Answer | None]


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
        self._waiting: tuple[deque[_Ticket[Answer]], ...] = tuple(deque() for _ in range(RANKS))
        self._cache: _Cache[Answer] = _Cache(cache_entries_max)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="semantic")
        self._running = False
        self._closed = False

    async def classify(self, text: str, deadline: float, rank: int = 0) -> Answer | None:
        """The model's answer, or None after `deadline` (the event loop's clock), on overflow or on failure.

        What waits with a lower `rank` goes first.
        """
        loop = asyncio.get_running_loop()
        key = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        cached = self._cache.get(key)
        if cached is not None:
            self.counts.cached += 1
            return cached
        if self._closed or loop.time() >= deadline:
            self.counts.late += 1
            return None
        if sum(map(len, self._waiting)) >= self._waiting_texts_max:
            self.counts.overflowed += 1
            return None
        ticket: _Ticket[Answer] = _Ticket(text, key, deadline, loop.create_future())
        waiting = self._waiting[min(rank, RANKS - 1)]
        waiting.append(ticket)
        self._start(loop)
        try:
            async with asyncio.timeout_at(deadline):
                return await ticket.answer
        except TimeoutError:
            self.counts.late += 1
            return None
        finally:
            # A waiter that timed out or was cancelled leaves the queue at once, so that it holds no place.
            if ticket in waiting:
                waiting.remove(ticket)

    def close(self) -> None:
        """Answers whoever waits with None and lets the worker go. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        for waiting in self._waiting:
            while waiting:
                _answer(waiting.popleft(), None)
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sends the next batch to the worker, unless one is there already."""
        if self._running or self._closed:
            return
        batch = self._next_batch(loop.time())
        if not batch:
            return
        self._running = True
        self.counts.batches += 1
        done = loop.run_in_executor(self._worker, self._model.classify, [ticket.text for ticket in batch])
        done.add_done_callback(lambda future: self._finished(loop, batch, future))

    def _next_batch(self, now: float) -> list[_Ticket[Answer]]:
        batch: list[_Ticket[Answer]] = []
        longest = 0
        while len(batch) < self._batch_texts_max:
            waiting = next((queue for queue in self._waiting if queue), None)
            if waiting is None:
                break
            ticket = waiting[0]
            longest = max(longest, len(ticket.text))
            if batch and longest * (len(batch) + 1) > BATCH_CHARACTERS_MAX:
                break
            waiting.popleft()
            # Nobody waits for these any more; the model must not either.
            if ticket.deadline > now and not ticket.answer.done():
                batch.append(ticket)
        return batch

    def _finished(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Ticket[Answer]], done: asyncio.Future[Sequence[Answer]]
    ) -> None:
        self._running = False
        if done.cancelled() or done.exception() is not None:
            self.counts.failed += len(batch)
            for ticket in batch:
                _answer(ticket, None)
        else:
            for ticket, result in zip(batch, done.result(), strict=True):
                self.counts.answered += 1
                self._cache.put(ticket.key, result)
                _answer(ticket, result)
        self._start(loop)


def _answer(ticket: _Ticket[Answer], result: Answer | None) -> None:
    """Hands the result over, unless the waiter has gone."""
    if not ticket.answer.done():
        ticket.answer.set_result(result)
