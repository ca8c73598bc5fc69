"""Waiting for something to come true, on the real clock because real sockets and files are involved."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 20.0


async def until(condition: Callable[[], object]) -> None:
    """Return when `condition` holds; a TimeoutError after far longer than it may take."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)
