"""Sessions: requests that follow each other, each with the conversation so far.

Sessions start as a Poisson process at a rate that gives the requests a second asked for; some have begun before the
first second, so that the run is steady from its start. The seconds between turns are the recorded ones, not scaled, but
no less than a busy replica needs for an answer; and no turn comes before the answer to the one before is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from benchmarks.workloads.workload import PLAIN, Arrival, Ask, Shape

COPY = 1 << 40  # ids of private blocks differ between copies of a session by multiples of this
REQUESTS = 24_000
ANSWER_S, ANSWER_TOKEN_S = 0.2, 0.025
"""What a turn is thought to take at least, and per token of its answer: Llama-3-8B on an H100 with 100 sequences."""


@dataclass(slots=True, frozen=True)
class Turn:
    """One request of a session, and the seconds since the one before it came."""

    gap_s: float
    ask: Ask


def paced(turns: Sequence[Turn]) -> list[Turn]:
    """The same turns, none sooner than the answer before it can be read."""
    floors = [0.0, *(ANSWER_S + ANSWER_TOKEN_S * turn.ask.output_tokens for turn in turns[:-1])]
    return [Turn(max(turn.gap_s, floor), turn.ask) for turn, floor in zip(turns, floors, strict=True)]


class SessionTrace:
    """Sessions that are started again and again; blocks outside `shared` are new in every copy."""

    def __init__(
        self,
        name: str,
        identity: str,
        block_tokens: int,
        sessions: Sequence[Sequence[Turn]],
        *,
        shared: frozenset[int],
        shape: Shape = PLAIN,
        requests: int = REQUESTS,
    ) -> None:
        self.name = name
        self.identity = identity
        self.block_tokens = block_tokens
        self.shape = shape
        self._sessions = [paced(turns) for turns in sessions]
        self._shared = shared
        self._requests = requests
        self._turns = sum(map(len, sessions))

    @property
    def natural_rate(self) -> float:
        """Where a search may begin: one request a second, as starts are not recorded."""
        return 1.0

    def arrivals(self, rate: float, rng: Random, limit: int | None = None) -> list[Arrival]:
        """The turns that fall into the run, of all sessions under way."""
        span_s = min(limit or self._requests, self._requests) / rate
        per_second = rate / self._turns
        found: list[tuple[float, int, int, float, Ask]] = []
        copies = 0
        for turns in self._sessions:
            length_s = sum(turn.gap_s for turn in turns[1:])
            # Dice of its own: another rate moves its starts, and deals nothing else anew.
            begin, dice = -length_s, Random(rng.getrandbits(64))
            while (begin := begin + dice.expovariate(per_second)) < span_s:
                copies += 1
                found += self._copy(turns, begin, span_s, copies)
        return _linked(sorted(found, key=lambda row: row[:3]))

    def _copy(
        self, turns: Sequence[Turn], begin: float, span_s: float, copy: int
    ) -> list[tuple[float, int, int, float, Ask]]:
        times = accumulate((turn.gap_s for turn in turns[1:]), initial=begin)
        rows = zip(times, turns, strict=True)
        inside = [(at, turn) for at, turn in rows if 0.0 <= at < span_s]
        return [(at, copy, n, turn.gap_s, self._renamed(turn.ask, copy)) for n, (at, turn) in enumerate(inside)]

    def _renamed(self, ask: Ask, copy: int) -> Ask:
        shared, offset = self._shared, copy * COPY
        return replace(
            ask,
            session=f"session-{copy}",
            blocks=tuple([b if b in shared else b + offset for b in ask.blocks]),
            hashes=tuple([b if b in shared else b + offset for b in ask.hashes]),
        )


def _linked(rows: Sequence[tuple[float, int, int, float, Ask]]) -> list[Arrival]:
    """Arrivals in order of time, each turn tied to the one before it."""
    last: dict[int, int] = {}
    arrivals = []
    for position, (at, copy, _, gap_s, ask) in enumerate(rows):
        arrivals.append(Arrival(at, ask, last.get(copy), gap_s))
        last[copy] = position
    return arrivals
