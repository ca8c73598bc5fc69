"""Load generators as processes, what is counted around them, and what is shown meanwhile."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys

import pytest

from benchmarks.live.cases import Pace, prompt_case
from benchmarks.live.command import turned, without_headers
from benchmarks.live.generators import generators
from benchmarks.live.measure import Asking, Slices
from benchmarks.live.progress import Progress
from benchmarks.live.target import Target
from epp.cli.stack import StartError
from tests.live.server import serving

SPINNING = """
import time
while True:
    begun = time.process_time()
    while time.process_time() - begun < 0.002:
        pass
    time.sleep(0.02)
"""
CASE = prompt_case(1024, Pace(0.3, rate=100.0), instant=True)


def target(address: tuple[str, int], picker: int | None = None) -> Target:
    return Target("it", address, "/v1/chat/completions", "test", picker=picker)


async def test_several_generators_send_every_request_once() -> None:
    seen = []

    async def answer(writer: asyncio.StreamWriter, number: int) -> None:
        seen.append(number)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with serving(answer) as address, generators(2) as made:
        part = await Slices(made, Asking("m", 5.0, False), None).play(CASE, target(address), 0, {})

    assert [len(result.samples) for result in part.results] == [15, 15]
    assert len(seen) == 30


async def test_what_a_process_uses_when_nobody_asks_is_not_a_requests_cost() -> None:
    spinning = await asyncio.create_subprocess_exec(sys.executable, "-c", SPINNING)
    try:
        async with serving() as address, generators(1) as made:
            slices = Slices(made, Asking("m", 5.0, False), None)
            place = target(address, picker=spinning.pid)
            idle = await slices.idle(place, 0.5)
            raw = await slices.play(CASE, place, 0, {})
            part = await slices.play(CASE, place, 1, idle)
    finally:
        spinning.kill()
        await spinning.wait()

    assert idle["picker"] > 0.02
    assert raw.cpu_s["picker"] > 0
    assert part.cpu_s["picker"] < raw.cpu_s["picker"] / 2


async def test_a_generator_that_dies_ends_the_run_with_a_sentence() -> None:
    async with serving() as address, generators(1) as made:
        os.kill(made.pids[0], signal.SIGKILL)
        with pytest.raises(StartError, match="a load generator has ended"):
            await Slices(made, Asking("m", 5.0, False), None).play(CASE, target(address), 0, {})


def test_each_round_begins_with_another_target() -> None:
    targets = [target(("127.0.0.1", n)) for n in range(3)]

    assert [turned(targets, n)[0].address[1] for n in range(4)] == [0, 1, 2, 0]
    assert all(len(turned(targets, n)) == 3 for n in range(4))


def test_keys_in_headers_are_not_written_down() -> None:
    words = ["--header", "authorization:Bearer k", "--header=x-key:k2", "--rate", "1"]

    assert without_headers(words) == ["--header", "...", "--header=...", "--rate", "1"]


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for file, shows in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr(sys, "stderr", file)
        progress = Progress(4)
        progress.step()
        progress.now("1 KB, none")
        shown = file.getvalue()
        progress.close()

        assert ("1/4 1 KB, none" in shown) == shows
        assert bool(shown) == shows
