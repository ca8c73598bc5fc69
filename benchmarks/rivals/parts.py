"""The runs of `bench live` of which the comparison is made, as its arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Routing:
    """A workload on a fleet at loads around its knee.

    `knee_rps` is what `bench sim --load 1` finds for this workload and fleet with 400 (multi-turn) and 500 requests:
    least-request has 80 % goodput there. A second of the fleet takes a second here: whoever reckons in seconds (our
    gate, everybody's timeouts) would be judged by another SLO than its own in a world that runs faster.
    """

    workload: str
    model: str
    gpu: str
    replicas: int
    knee_rps: float
    load: float
    requests: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.knee_rps * self.load

    def asked(self, *, quick: bool) -> int:
        """Requests of a run; a workload of sessions has about as many."""
        return 60 if quick else self.requests

    def describe(self) -> str:
        """For a heading."""
        fleet = f"{self.replicas} x {self.model} on {self.gpu}"
        return f"{self.workload} at {self.load:g} of the knee, {self.rate:.3g} req/s, {fleet}"


ROUTINGS = (
    Routing("multi-turn", "llama3-8b", "a100", 4, 26.81, 1.0, 300),
    Routing("multi-turn", "llama3-8b", "a100", 4, 26.81, 1.5, 300),
    Routing("conversation", "llama3-8b", "h100", 4, 3.275, 1.5, 200),
)
"""The last one alone takes as long as the other two; `--full` has it."""


def hop(rivals: Sequence[str], *, quick: bool, full: bool = False) -> Iterator[list[str]]:
    """CPU at full speed, ours in both wirings, then latency at a gentle rate; servers that cost next to nothing."""
    prompts = "1KB,32KB,220KB" if full else "1KB" if quick else "1KB,220KB"
    answers = "100,1000" if full else "100" if quick else "1000"
    servers = ["--upstream=instant", "--replicas=8", "--streams=0"]
    seconds = "1" if quick else "1.5"
    closed = [*servers, "--closed", f"--seconds={seconds}", "--wiring=w1,duplex", *rivals]
    yield [*closed, f"--prompts={prompts}", "--connections=8"]
    yield [*closed, f"--answers={answers}", "--connections=8"]
    gentle = ["--rate=40", "--rounds=1", f"--seconds={'1' if quick else '3'}"]
    yield [*servers, *gentle, "--wiring=w1,duplex", "--prompts=1KB", *rivals]


def routing(case: Routing, rivals: Sequence[str], data: Path | None, *, quick: bool) -> list[str]:
    """The workload, each request at its time, to servers that take as long as GPUs would."""
    words = [f"--workload={case.workload}", f"--model={case.model}", f"--gpu={case.gpu}", f"--replicas={case.replicas}"]
    words += [f"--rate={case.rate:.5g}", "--time-factor=1", "--rounds=1"]
    words += [f"--requests={case.asked(quick=quick)}", "--seconds=600", "--timeout=40", "--rival-front=none", *rivals]
    folder = data or os.environ.get("ONEHOP_TRACES")
    return [*words, f"--data={folder}"] if folder else words
