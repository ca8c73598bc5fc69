"""Runs one coroutine without a task: it goes on in the very call that brings what it waits for.

A task would take a turn of the loop for each message. This is what asyncio calls a third-party task: `current_task()`
is this while the coroutine runs, so `asyncio.timeout` and the like work in it. Must stay true: it is stepped from the
loop alone, never from within another task; and it is cancelled as a task is, at its next wait.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, CancelledError, Future
from asyncio.tasks import _enter_task, _leave_task  # documented under "Extending"
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from types import coroutine
from typing import Any


class _Parked:
    """What a coroutine yields that waits for `Drive.go_on`."""


_PARKED = _Parked()


@coroutine
def parked() -> Generator[_Parked, None, None]:
    """Wait until somebody says `go_on`. Only in a coroutine that a `Drive` runs."""
    yield _PARKED


class Drive:
    """A coroutine on its way. `ended` is told how it ended: an exception or None."""

    __slots__ = (
        "_cancel_requests",
        "_cancelled_soon",
        "_context",
        "_coroutine",
        "_ended",
        "_is_done",
        "_loop",
        "_waits_for",
        "is_parked",
    )

    def __init__(
        self,
        run: Coroutine[Any, None, None],
        loop: AbstractEventLoop,
        ended: Callable[[BaseException | None], None],
    ) -> None:
        self._coroutine = run
        self._loop = loop
        self._ended = ended
        self._context = copy_context()
        self.is_parked = False  # whether it waits for `go_on`
        self._waits_for: Future[Any] | None = None
        self._cancelled_soon = False
        self._cancel_requests = 0
        self._is_done = False

    def start(self) -> None:
        """The first step."""
        self._step()

    def go_on(self) -> None:
        """What it parked for is there; nothing happens if it waits for something else."""
        if self.is_parked:
            self.is_parked = False
            self._step()

    def cancel_now(self) -> None:
        """As `cancel`, and at once where it is parked; not to be said while another coroutine runs."""
        if self.is_parked:
            self.is_parked = False
            self._cancel_requests += 1
            self._step(CancelledError())
        else:
            self.cancel()

    # What asyncio's own tools want of a task.

    def cancel(self, msg: Any = None) -> bool:
        """Raise CancelledError in the coroutine where it waits, soon."""
        if self._is_done:
            return False
        self._cancel_requests += 1
        if self._waits_for is not None and self._waits_for.cancel(msg):
            return True
        if self.is_parked:
            self.is_parked = False
            self._loop.call_soon(self._step, CancelledError())
        else:
            self._cancelled_soon = True
        return True

    def cancelling(self) -> int:
        """How many cancellations were asked for and not taken back."""
        return self._cancel_requests

    def uncancel(self) -> int:
        """Take one back; how many are left."""
        self._cancel_requests = max(0, self._cancel_requests - 1)
        return self._cancel_requests

    def done(self) -> bool:
        """Whether it has ended."""
        return self._is_done

    def get_loop(self) -> AbstractEventLoop:
        """Where it runs."""
        return self._loop

    def get_name(self) -> str:
        """For logs."""
        return "stream"

    def _step(self, error: BaseException | None = None) -> None:
        if self._cancelled_soon and error is None:
            self._cancelled_soon = False
            error = CancelledError()
        loop = self._loop
        _enter_task(loop, self)  # type: ignore[arg-type]  # what it says of a task
        try:
            if error is None:
                found = self._context.run(self._coroutine.send, None)
            else:
                found = self._context.run(self._coroutine.throw, error)
        except StopIteration:
            self._end(None)
        except (KeyboardInterrupt, SystemExit) as stop:
            self._end(stop)
            raise
        except BaseException as raised:
            self._end(raised)
        else:
            if found is _PARKED and not self._cancelled_soon:  # as nearly always
                self.is_parked = True
            else:
                self._wait(found)
        finally:
            _leave_task(loop, self)  # type: ignore[arg-type]
            error = None  # its traceback holds this frame

    def _wait(self, found: Any) -> None:
        if found is None or found is _PARKED:  # asyncio.sleep(0), or parked and to be cancelled
            self._loop.call_soon(self._step)
        elif getattr(found, "_asyncio_future_blocking", None):
            found._asyncio_future_blocking = False
            found.add_done_callback(self._wake)
            self._waits_for = found
            if self._cancelled_soon and found.cancel():
                self._cancelled_soon = False
        else:
            self._loop.call_soon(self._step, RuntimeError(f"a stream waits for {type(found).__name__}"))

    def _wake(self, future: Future[Any]) -> None:
        self._waits_for = None
        try:
            future.result()
        except BaseException as error:
            self._step(error)
        else:
            self._step()

    def _end(self, error: BaseException | None) -> None:
        self._is_done = True
        ended, self._ended = self._ended, _told  # whoever is told holds us: a cycle for each stream otherwise
        ended(error)


def _told(_: BaseException | None) -> None:
    """Who was to be told has been."""
