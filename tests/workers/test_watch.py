"""A worker that says nothing is ended: turns of our own loop are counted, on a clock that jumps."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from epp.workers.desk import Deciding, Desk
from epp.workers.messages import Ping
from epp.workers.process import PING_S, SILENT_MAX, START_MAX, Worker
from tests.kubeapi.virtual import run


class Process:
    """One that ends when it is killed."""

    def __init__(self) -> None:
        self.killed_at: float | None = None

    def kill(self) -> None:
        if self.killed_at is None:
            self.killed_at = asyncio.get_running_loop().time()


class Pipe:
    """What was said to it."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def say(self, message: object) -> None:
        self.said.append(message)


def worker() -> tuple[Worker, Process, Pipe]:
    process, pipe = Process(), Pipe()
    ours: Any = process, pipe
    with socket.socket() as door:
        made = Worker(0, ours[0], door, Desk(Deciding([], ours[1], lambda: 0.0)), [0])
    made.pipe = ours[1]
    return made, process, pipe


async def watched(made: Worker, process: Process) -> None:
    """Until it was ended."""
    watching = asyncio.create_task(made.watch())
    while process.killed_at is None:
        await asyncio.sleep(PING_S / 10)
    made.gone.set()
    await watching


@pytest.mark.parametrize(("serves", "turns"), [(True, SILENT_MAX), (False, START_MAX)])
def test_one_that_is_silent_is_ended(serves: bool, turns: int) -> None:
    async def scene() -> tuple[float | None, list[object], float]:
        made, process, pipe = worker()
        made.serves = serves
        await watched(made, process)
        return process.killed_at, pipe.said, made.silent_s

    killed_at, said, silent_s = run(scene())

    assert killed_at is not None
    assert silent_s == turns * PING_S
    assert turns * PING_S < killed_at <= (turns + 2) * PING_S
    assert {type(message) for message in said} == ({Ping} if serves else set())


def test_connections_go_to_one_that_may_hang_last_though_it_carries_nothing() -> None:
    def busy(number: int) -> Worker:
        made, _, _ = worker()
        made.desk.carrying = number
        return made

    idle, one, two, may_hang = busy(0), busy(1), busy(2), busy(0)
    idle.unanswered, may_hang.unanswered = 1, 2  # that to the last one may be on its way

    assert sorted([may_hang, two, one, idle], key=lambda w: w.load(0)) == [idle, one, two, may_hang]


def test_one_that_answers_is_left_alone() -> None:
    async def scene() -> tuple[float | None, float]:
        made, process, _ = worker()
        made.serves = True
        watching = asyncio.create_task(made.watch())
        for _ in range(20):
            await asyncio.sleep(PING_S * (SILENT_MAX - 1))
            made.unanswered = 0
        made.gone.set()
        await watching
        return process.killed_at, made.silent_s

    assert run(scene()) == (None, 0.0)


def test_time_in_which_we_stood_still_ourselves_does_not_count() -> None:
    """What it said meanwhile lies in the socket, and is read before the next turn."""

    async def scene() -> tuple[float | None, int]:
        made, process, _ = worker()
        made.serves = True
        watching = asyncio.create_task(made.watch())
        await asyncio.sleep(1.5 * PING_S)
        loop: Any = asyncio.get_running_loop()
        loop._jumping.time += 100 * PING_S
        await asyncio.sleep(0)
        await asyncio.sleep(0.1 * PING_S)
        turns = made.unanswered
        made.gone.set()
        await watching
        return process.killed_at, turns

    killed_at, turns = run(scene())

    assert killed_at is None
    assert turns <= 2
