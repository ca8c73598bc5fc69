"""An event loop whose time jumps to the next thing to do; for code that waits for timers, futures and tasks only.

Must stay true: what is due at one moment runs in the order in which it was asked for; an exception that asyncio would
log ends the run. Simulated events go straight into the heap (`at`), without a handle.
"""

from __future__ import annotations

import asyncio
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class VirtualLoop(asyncio.BaseEventLoop):
    """`time` starts at 0 seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.events = 0
        self.halted = False
        self.after_each: Callable[[], None] | None = None
        """Called when an event and all that it woke are done, for tests of invariants."""
        self._heap: list[tuple[float, int, Callable[[Any], object], Any]] = []
        self._order = 0
        self._soon: deque[asyncio.Handle] = deque()

    def time(self) -> float:
        """Virtual seconds."""
        return self.now

    def at(self, when: float, call: Callable[[Any], object], value: Any = None) -> None:
        """Call with `value` at that second, or now where it has passed."""
        self._order += 1
        heappush(self._heap, (when, self._order, call, value))

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's."""
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.at(when, _run, handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nothing is left for a log that nobody reads."""
        raise context.get("exception") or RuntimeError(context.get("message"))

    def halt(self) -> None:
        """Let `run` return when the event under way is over, whatever is left to do."""
        self.halted = True

    def run(self) -> None:
        """Until nothing is left to do, or `halt`."""
        heap, after_each = self._heap, self.after_each
        _set_running_loop(self)
        try:
            self._wake()
            while heap and not self.halted:
                when, _, call, value = heappop(heap)
                self.now = max(self.now, when)
                call(value)
                self.events += 1
                if self._soon:
                    self._wake()
                if after_each is not None:
                    after_each()
        finally:
            _set_running_loop(None)

    def drive(self, coroutine: Coroutine[Any, Any, T], done: Callable[[T], object]) -> None:
        """Run a coroutine and call `done` with its result: at once where it never waits, else from a task."""
        try:
            waits_for = coroutine.send(None)
        except StopIteration as stop:
            done(stop.value)
            return
        task = self.create_task(_finish(_Resumed(coroutine, waits_for)))
        task.add_done_callback(lambda finished: done(finished.result()))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays in the heap until it is due."""

    def _wake(self) -> None:
        soon = self._soon
        while soon:
            _run(soon.popleft())


class _Resumed:
    """The rest of a coroutine that has begun and waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        while True:
            try:
                try:
                    value = yield waits_for
                except BaseException as error:
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(value)
            except StopIteration as stop:
                return stop.value


async def _finish(rest: _Resumed) -> Any:
    return await rest


def _run(handle: asyncio.Handle) -> None:
    if not handle.cancelled():
        handle._run()
