"""One worker as the process that started it sees it."""

from __future__ import annotations

import asyncio
import pickle
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from epp.workers.desk import Deciding, Desk
from epp.workers.messages import Down, Ping, Up, framed
from epp.workers.pipe import Pipe
from epp.workers.setup import Setup

CLOSE_S = 2.0  # for a worker to end by itself, beyond the grace of its streams
PING_S = 1.0
SILENT_MAX = 10  # pings in a row that a worker that serves may leave unanswered
START_MAX = 60  # the same for one that does not serve yet


@dataclass(slots=True, eq=False)
class Worker:
    """One process. `handed` counts the connections given to it by port, `unanswered` pings in a row."""

    number: int
    process: Process
    door: socket.socket
    desk: Desk
    handed: list[int]
    pipe: Pipe[Up] | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    left: set[int] = field(default_factory=set)
    serves: bool = False
    unanswered: int = 0
    silent_s: float = 0.0  # for which it was ended

    def say(self, message: Down) -> None:
        """To nobody where it is gone."""
        if self.pipe is not None:
            self.pipe.say(message)

    async def watch(self) -> None:
        """Until it is gone; one that hangs is ended.

        Turns of our loop are counted, not seconds: when this process stood still itself, one turn has passed, and what
        the worker said meanwhile is read before the next.
        """
        while not await self._gone_within(PING_S):
            if self.unanswered >= (SILENT_MAX if self.serves else START_MAX):
                self.silent_s = self.unanswered * PING_S
                self.kill()
            self.unanswered += 1
            if self.serves:  # until then it is to say that by itself
                self.say(Ping())

    async def _gone_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), seconds)
        return self.gone.is_set()

    async def ended(self) -> int:
        """How it ended; one whose pipe is gone has nothing left to do."""
        try:
            return await asyncio.wait_for(self.process.wait(), CLOSE_S)
        except TimeoutError:
            self.kill()
            return await self.process.wait()

    def kill(self) -> None:
        """If it has not ended by itself."""
        with suppress(ProcessLookupError):
            self.process.kill()

    def load(self, port: int) -> tuple[bool, int, int, int]:
        """Whether it may hang; connections that carry streams, or may; all that it has; how many of that port ever."""
        coming = sum(self.handed) - self.desk.connected
        return (
            self.unanswered > 1,
            self.desk.carrying + coming,
            sum(self.handed) - self.desk.disconnected,
            self.handed[port],
        )


async def launch(number: int, setup: Setup, deciding: Deciding, heard: Callable[[Worker, Up], None]) -> Worker:
    """A process that has been told what it is; nothing of it is left where that fails. Raises OSError."""
    with ExitStack() as undo:
        ours, theirs = socket.socketpair()
        door, their_door = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        undo.callback(ours.close)
        undo.callback(door.close)
        door.setblocking(False)
        with theirs, their_door:
            process = await asyncio.create_subprocess_exec(
                *_python(), str(theirs.fileno()), str(their_door.fileno()),
                pass_fds=(theirs.fileno(), their_door.fileno()),
                stdin=DEVNULL,
            )  # fmt: skip
        worker = Worker(number, process, door, Desk(deciding), [0] * len(setup.ports))
        undo.callback(worker.kill)
        worker.desk.say = worker.say
        with suppress(BrokenPipeError):  # it has ended already, which the pipe tells next
            ours.sendall(framed(pickle.dumps(setup)))
        worker.pipe = await Pipe.over(ours, Up, lambda message: heard(worker, message), worker.gone.set)
        undo.pop_all()
    return worker


def _python() -> list[str]:
    """As we run ourselves: modules of the working directory count only where they do here."""
    here = str(Path.cwd()) in sys.path or "" in sys.path
    return [sys.executable, *([] if here else ["-P"]), "-m", "epp.cli.worker"]
