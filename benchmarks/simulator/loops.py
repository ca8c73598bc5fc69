"""One replica under a load of equal requests: clients that ask again once they were answered, or arrivals that do not
wait for anybody. In virtual time, as load tools do it to a real server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from statistics import fmean

from benchmarks.simulator.config import ReplicaConfig
from benchmarks.simulator.replica import Replica
from benchmarks.simulator.sequence import Job, Sequence

PAUSE_S = 0.01
"""From an answer's last token to the client's next request at the engine: network, parsing, tokenizer. So it misses the
step that begins meanwhile; how long the pause is hardly matters."""
WARM_UP = 0.2
"""The first part of the answers that does not count."""


@dataclass(slots=True, frozen=True)
class Means:
    """Of the requests that count, in seconds."""

    ttft_s: float
    tpot_s: float
    e2e_s: float


def closed(config: ReplicaConfig, prompt: int, output: int, *, clients: int, requests: int, spread: float) -> Means:
    """Clients that all ask at once, and each again once it was answered; answers are within `spread` of `output`
    tokens: at 0 the clients stay in step, at 0.1 they soon are apart."""
    rng = Random(0)

    def job() -> Job:
        return Job(prompt, max(2, round(output * (1 + spread * (2 * rng.random() - 1)))))

    return _means(_served(config, [0.0] * clients, job, requests, again=True))


def opened(config: ReplicaConfig, prompt: int, output: int, *, rate: float, requests: int) -> Means:
    """Poisson arrivals, `rate` a second."""
    rng = Random(0)
    times = list(accumulate(rng.expovariate(rate) for _ in range(requests)))
    return _means(_served(config, times, lambda: Job(prompt, output), requests, again=False))


def _served(
    config: ReplicaConfig, times: list[float], job: Callable[[], Job], requests: int, *, again: bool
) -> list[Sequence]:
    """The first `requests` that are answered, of those who ask at `times`, and again when they were answered."""
    replica, done, asking = Replica(config), list[Sequence](), deque(times)
    ends: float | None = None
    while len(done) < requests:
        if ends is None or (asking and asking[0] < ends):
            now = asking[0]
            while asking and asking[0] == now:
                replica.submit(job(), asking.popleft())
        else:
            now, finished = ends, replica.finish_step(ends).finished
            done += finished
            if again:
                asking.extend([now + PAUSE_S] * len(finished))
        if not replica.stepping:
            ends = replica.start_step(now)
    return done


def _means(done: list[Sequence]) -> Means:
    ttft, tpot, e2e = [], [], []
    for each in done[int(len(done) * WARM_UP) :]:
        assert each.first_token_at is not None, "it is done"
        assert each.finished_at is not None, "it is done"
        ttft.append(each.first_token_at - each.arrived_at)
        tpot.append((each.finished_at - each.first_token_at) / (each.job.output_tokens - 1))
        e2e.append(each.finished_at - each.arrived_at)
    return Means(fmean(ttft), fmean(tpot), fmean(e2e))
