"""Requests made up from a seed: independent ones, at times that follow a pattern, of lengths that follow another.

Must stay true: what is drawn for request n depends on the seed and n, not on the rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from itertools import accumulate, count
from math import exp, log
from random import Random
from typing import Protocol

from benchmarks.workloads.workload import PLAIN, Arrival, Ask, Shape, with_answer

OWN = 1 << 44  # block ids from here on are of one request each
BLOCKS_PER_REQUEST = 1 << 13


@dataclass(slots=True, frozen=True)
class Lengths:
    """Log-normal lengths in tokens with that mean; `spread` is the standard deviation of the logarithm."""

    mean: float
    spread: float = 1.0
    least: int = 1
    most: int = 32_000

    def draw(self, rng: Random) -> int:
        """One length."""
        median = log(self.mean) - self.spread**2 / 2
        return round(min(self.most, max(self.least, exp(rng.gauss(median, self.spread)))))


class Times(Protocol):
    """Seconds of the requests at a mean rate, without end. Plain values, as they go to other processes."""

    def __call__(self, rate: float, rng: Random) -> Iterator[float]: ...


@dataclass(slots=True, frozen=True)
class Poisson:
    """Nobody knows of each other."""

    def __call__(self, rate: float, rng: Random) -> Iterator[float]:
        """In order."""
        now = 0.0
        while True:
            now += rng.expovariate(rate)
            yield now


@dataclass(slots=True, frozen=True)
class Constant:
    """One after another, at equal distances; the first at a random moment of its own."""

    def __call__(self, rate: float, rng: Random) -> Iterator[float]:
        """In order."""
        begin = rng.random()
        for number in count():
            yield (number + begin) / rate


@dataclass(slots=True, frozen=True)
class Groups:
    """So many at once, each group at a random moment of its share of the time."""

    size: int

    def __call__(self, rate: float, rng: Random) -> Iterator[float]:
        """In order."""
        for number in count():
            yield from [(number + rng.random()) * self.size / rate] * self.size


@dataclass(slots=True, frozen=True)
class SquareWave:
    """Poisson at `low` and, for the last `high_share` of each period, at `high`, both in parts of one unit.

    The unit is such that the mean is the rate asked for.
    """

    low: float
    high: float
    period_s: float
    high_share: float

    def __call__(self, rate: float, rng: Random) -> Iterator[float]:
        """In order; thinned from the higher rate."""
        mean = self.low * (1 - self.high_share) + self.high * self.high_share
        for at in Poisson()(rate * self.high / mean, rng):
            up = at % self.period_s >= self.period_s * (1 - self.high_share)
            if up or rng.random() < self.low / self.high:
                yield at


@dataclass(slots=True, frozen=True)
class Generated:
    """Independent requests; those with a topic share its text (`topics` of them, by Zipf) in front of their own.

    `tenants` are names with shares, `adapters` names of equal standing, drawn by Zipf.
    """

    name: str
    prompts: Lengths
    answers: Lengths
    times: Times = field(default_factory=Poisson)
    topics: int = 0
    topic_tokens: int = 0
    zipf: float = 1.0
    tenants: tuple[tuple[str, float], ...] = ()
    requests: int = 12_000
    block_tokens: int = 64
    natural_rate: float = 10.0
    shape: Shape = PLAIN

    @property
    def identity(self) -> str:
        """A digest of the parameters."""
        return sha256(repr(self).encode()).hexdigest()

    def arrivals(self, rate: float, rng: Random, limit: int | None = None) -> list[Arrival]:
        """Requests at the pattern's times; a `limit` may be more than there are by default, too."""
        number = limit or self.requests
        times, content = Random(rng.getrandbits(64)), Random(rng.getrandbits(64))
        asks = self._asks(content)
        return [Arrival(at, ask) for at, ask, _ in zip(self.times(rate, times), asks, range(number), strict=False)]

    def _asks(self, rng: Random) -> Iterator[Ask]:
        topics, adapters = range(self.topics), self.shape.adapters
        names, shares = [name for name, _ in self.tenants], [share for _, share in self.tenants]
        for number in count():
            topic = rng.choices(topics, cum_weights=zipf_weights(self.topics, self.zipf))[0] if topics else 0
            prompt, answer = self.prompts.draw(rng), self.answers.draw(rng)
            tenant = rng.choices(names, shares)[0] if names else None
            adapter = rng.choices(adapters, cum_weights=zipf_weights(len(adapters), self.zipf))[0] if adapters else None
            yield replace(self._ask(number, topic, prompt, answer), adapter=adapter, tenant=tenant)

    def _ask(self, number: int, topic: int, prompt: int, answer: int) -> Ask:
        whole = self.topic_tokens // self.block_tokens
        tokens = self.topic_tokens + prompt
        begin = OWN + number * BLOCKS_PER_REQUEST
        own = range(begin, begin + -(-tokens // self.block_tokens) - whole)
        blocks = (*range(topic * whole, (topic + 1) * whole), *own)
        full = blocks[: tokens // self.block_tokens]
        hashes = with_answer(full, tokens + answer, self.block_tokens, number)
        return Ask(tokens, answer, blocks, hashes)


@cache
def zipf_weights(number: int, exponent: float) -> list[float]:
    """Cumulative shares of ranks, not normalized."""
    return list(accumulate(1 / rank**exponent for rank in range(1, number + 1)))
