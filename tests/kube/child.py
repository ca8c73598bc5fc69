"""One server process of a test: its log in a file, and gone when the tests are, however they end."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
READY_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 30.0


class Died(Exception):
    """The server ended, or never became ready; with the end of its log."""


class Child:
    """A process that was started and is to be ended; ending it twice is harmless."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt reaches us alone, and we stop what we started in order
                preexec_fn=die_with_parent,  # noqa: PLW1509  the child is one system call away from exec
            )

    async def ready(self, probe: Callable[[], Awaitable[bool]]) -> None:
        """Returns once `probe` says so."""
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                while not await probe():
                    if not self.is_alive:
                        raise Died(f"exit status {self._process.returncode}\n{self.tail()}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Died(f"not ready within {READY_SECONDS_MAX} s\n{self.tail()}") from None

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def finish(self) -> None:
        """Asks it to end, and returns when it has; those it serves can go on meanwhile."""
        self._process.terminate()
        async with asyncio.timeout(STOP_SECONDS_MAX):
            while self.is_alive:
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait(STOP_SECONDS_MAX)

    def tail(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-4000:]


def die_with_parent() -> None:
    """Linux ends the child even where the tests themselves are killed; elsewhere `stop` has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
