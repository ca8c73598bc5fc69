"""Waiting for something to come true, on the real clock because real sockets and files are involved; and parts that
run meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

PATIENCE_S = 20.0


async def until(condition: Callable[[], object]) -> None:
    """Return when `condition` holds; a TimeoutError after far longer than it may take."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, object]) -> AsyncIterator[asyncio.Task[object]]:
    """The task of what runs until it is cancelled; if it ended by itself, the test fails."""
    task = asyncio.create_task(work)
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
