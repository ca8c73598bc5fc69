"""The kinds of load: prompts of a size, answers of a length, or a workload as `bench sim` knows it.

Must stay true: what a case asks for depends on the seed alone, so every target of a round gets the same requests at
the same times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from random import Random

from benchmarks.live.messages import Shot
from benchmarks.workloads.generated import Constant, Poisson, Times
from benchmarks.workloads.text import BYTES_PER_TOKEN
from benchmarks.workloads.workload import Workload

KB = 1024
PROMPTS = ((1 * KB, 32 * KB, 220 * KB, 400 * KB), (1 * KB, 32 * KB, 220 * KB, 1024 * KB))
QUICK_PROMPTS = ((1 * KB, 220 * KB), (1 * KB,))
"""Of open loops, of closed ones."""
ANSWERS, QUICK_ANSWERS = (10, 100, 1_000, 10_000), (100,)
SHORT_ANSWER, SHORT_PROMPT = 16, 1 * KB
ARRIVALS: Mapping[str, Times] = {"poisson": Poisson(), "constant": Constant()}
REQUESTS_MIN = 2  # of a slice
PROMPT_BYTES_PER_S, PROMPTS_PER_S_MAX = 5_000_000, 40.0
"""Default load: a part of a core on every hop, not saturation, where each latency is that of a queue."""
TOKENS_PER_S, ANSWERS_PER_S_MAX = 800.0, 20.0
LONG_TOKENS, LONG_ROUNDS_MAX = 5_000, 2
"""Streams of minutes, of which every token is a sample."""
CONNECTION_BYTES = 2_000_000
CONNECTIONS_MAX, CONNECTIONS_LONG = 16, 4


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of load; `shots` are those of a seed."""

    name: str
    shots: Callable[[int], list[Shot]]
    seconds: float
    """Of arrivals in a slice; of asking, in a closed loop."""
    rate: float | None = None
    prompt_bytes: int | None = None
    answer_tokens: int | None = None
    block_tokens: int = 1
    stream: bool = True
    connections: int = 0
    """Above 0: a closed loop of so many."""
    pause_ms: float | None = None
    """Between tokens, for servers that answer at once."""
    rounds_max: int | None = None
    judged: bool = False
    """Whether answers are held against the objectives of `bench sim`, and hits in prefix caches are counted."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the requests of a case are spread."""

    seconds: float
    arrivals: str = "poisson"
    rate: float | None = None
    requests_max: int = 100_000
    closed: bool = False
    connections: int | None = None

    def spread(self, seed: int, rate: float, sizes: Sizes) -> list[Shot]:
        """Requests for `seconds`, each with a prompt of its own."""
        number = min(self.requests_max, max(REQUESTS_MIN, round(rate * self.seconds)))
        times = ARRIVALS[self.arrivals](number / self.seconds, Random(f"arrivals {seed}"))
        return [Shot(at, sizes.prompt, sizes.answer, (n,)) for n, at in enumerate(islice(times, number))]


@dataclass(frozen=True, slots=True)
class Sizes:
    """In tokens."""

    prompt: int
    answer: int


def prompt_case(size: int, pace: Pace, *, instant: bool, connections: int | None = None) -> Case:
    """Prompts of that size, short answers: as a stream, or from servers that answer at once as one JSON."""
    rate = pace.rate or min(PROMPTS_PER_S_MAX, PROMPT_BYTES_PER_S / size)
    connections = connections or pace.connections or max(1, min(CONNECTIONS_MAX, CONNECTION_BYTES // size))
    case = _case(size_name(size), pace, Sizes(size // BYTES_PER_TOKEN, SHORT_ANSWER), rate, connections)
    return replace(case, stream=not instant)


def answer_case(answer: int, pace: Pace, *, token_s: float, pause_ms: float | None) -> Case:
    """Streams of so many tokens, of which each takes about `token_s`."""
    rate = pace.rate or min(ANSWERS_PER_S_MAX, TOKENS_PER_S / answer)
    connections = pace.connections or (CONNECTIONS_MAX if answer < 10_000 else CONNECTIONS_LONG)
    if pace.closed:  # at least two of them must fit
        pace = replace(pace, seconds=max(pace.seconds, 2.5 * answer * token_s))
    case = _case(
        f"answer of {answer:,} tokens", pace, Sizes(SHORT_PROMPT // BYTES_PER_TOKEN, answer), rate, connections
    )
    return replace(case, pause_ms=pause_ms, rounds_max=LONG_ROUNDS_MAX if answer >= LONG_TOKENS else None)


def _case(name: str, pace: Pace, sizes: Sizes, rate: float, connections: int) -> Case:
    if pace.closed:
        name += f", {connections} connection{'s' if connections > 1 else ''}"
    return Case(
        name,
        partial(pace.spread, rate=rate, sizes=sizes),
        pace.seconds,
        None if pace.closed else rate,
        sizes.prompt * BYTES_PER_TOKEN,
        sizes.answer,
        block_tokens=sizes.prompt,
        connections=connections if pace.closed else 0,
    )


def workload_case(workload: Workload, pace: Pace, time_factor: float = 1.0) -> Case:
    """A workload's requests at its own pattern of arrivals, in a world where a second takes `time_factor` seconds.

    The rate is in requests a second here, so it is what changes with the factor. Raises ValueError for a workload that
    real time cannot play.
    """
    if workload.shape.happenings or workload.shape.absent:
        raise ValueError(f"workload {workload.name!r} is about replicas that come and go: only `bench sim` plays that")
    rate = pace.rate or workload.natural_rate / time_factor
    number = min(pace.requests_max, max(REQUESTS_MIN, round(rate * pace.seconds)))

    def shots(seed: int) -> list[Shot]:
        arrivals = workload.arrivals(rate * time_factor, Random(f"arrivals {seed}"), number)
        return [
            Shot(
                arrival.at * time_factor,
                arrival.ask.prompt_tokens,
                arrival.ask.output_tokens,
                arrival.ask.blocks,
                arrival.after,
                arrival.gap_s * time_factor,
                arrival.ask.adapter,
                arrival.ask.tenant,
            )
            for arrival in arrivals
        ]

    return Case(workload.name, shots, number / rate, rate, block_tokens=workload.block_tokens, judged=True)


def deal(shots: Sequence[Shot], hands: int) -> list[list[Shot]]:
    """Requests to several generators, in turn; those that follow another stay with it."""
    dealt: list[list[Shot]] = [[] for _ in range(hands)]
    where: list[tuple[int, int]] = []
    turn = 0
    for shot in shots:
        if shot.after is None:
            hand, turn, after = turn % hands, turn + 1, None
        else:
            hand, after = where[shot.after]
        where.append((hand, len(dealt[hand])))
        dealt[hand].append(
            Shot(
                shot.at,
                shot.prompt_tokens,
                shot.answer_tokens,
                shot.blocks,
                after,
                shot.gap_s,
                shot.model,
                shot.tenant,
            )
        )
    return dealt


def size_name(size: int) -> str:
    """`32 KB`."""
    return f"{size // KB:,} KB" if size % KB == 0 and size < KB * KB else f"{size / KB / KB:g} MB"
