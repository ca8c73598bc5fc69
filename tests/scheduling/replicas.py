"""A few replicas in virtual time, just enough to compare weights: serial prefill, shared decode, a prefix cache.

A replica prefills first come first served at `PREFILL_RATE` tokens a second, skipping what its cache holds, and then
decodes in a time that grows with the requests it has. Constants: an 8B model on one H100, rounded. The cache is keyed
by what the prompts share (a system prompt, a session), not by our hashes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from epp.datastore.pool import Lease, Pool
from epp.domain import Candidate, Endpoint, Load, Request
from epp.scheduling.framework import Profile, Query

PREFILL_RATE = 16_000.0
DECODE_STEP_S = 0.010
DECODE_STEP_PER_REQUEST_S = 0.0003
CACHE_TOKENS = 400_000


@dataclass(slots=True)
class Turn:
    """One request of a trace; `shared` are the keys of its prompt's prefixes with their tokens, longest last."""

    at: float
    prompt: bytes
    shared: list[tuple[str, int]]
    answer_tokens: int


@dataclass(slots=True, eq=False)
class Replica:
    """One model server behind an endpoint."""

    endpoint: Endpoint
    free_at: float = 0.0
    starts: list[float] = field(default_factory=list)
    decoding: int = 0
    cache: OrderedDict[str, int] = field(default_factory=OrderedDict)
    cached: int = 0

    def hit(self, turn: Turn) -> int:
        """Tokens of the prompt that need no prefill; the prompt's prefixes are cached from now on."""
        hit = max((min(tokens, self.cache.get(key, 0)) for key, tokens in turn.shared), default=0)
        for key, tokens in turn.shared:
            self.cached += tokens - self.cache.pop(key, 0)
            self.cache[key] = tokens
        while self.cached > CACHE_TOKENS:
            self.cached -= self.cache.popitem(last=False)[1]
        return hit

    def sample(self, now: float) -> Load:
        """What /metrics would say."""
        self.starts = [s for s in self.starts if s > now]
        return Load(now, len(self.starts), self.decoding, min(1.0, self.decoding / 128), 16, CACHE_TOKENS // 16)


def run(profile: Profile, turns: list[Turn], replicas: int, seed: int, scrape_s: float = 0.5) -> list[float]:
    """Seconds to first token of every turn, in order of arrival."""
    rng, order = Random(seed), count()
    fleet = [Replica(Endpoint(f"e{i}", f"e{i}:80")) for i in range(replicas)]
    owner = {r.endpoint: r for r in fleet}
    pool = tuple(owner)
    events: list[tuple[float, int, Callable[[float], None]]] = []
    ttft: list[float] = []

    def at(when: float, do: Callable[[float], None]) -> None:
        heappush(events, (when, next(order), do))

    def arrive(turn: Turn) -> Callable[[float], None]:
        def now_do(now: float) -> None:
            request = Request("r", model="m", prompt=turn.prompt, prompt_tokens=len(turn.prompt) // 4)
            query = Query(request, Candidate("m"), now, rng)
            pick = profile.run(query, pool)
            assert pick is not None
            profile.picked(query, pick.endpoint)
            lease = Pool().lease(pick.endpoint, query.cost or request.prompt_tokens, now=now)
            replica = owner[pick.endpoint]
            start = max(now, replica.free_at)
            replica.starts.append(start)
            replica.free_at = start + (request.prompt_tokens - replica.hit(turn)) / PREFILL_RATE + DECODE_STEP_S
            ttft.append(replica.free_at - now)
            at(replica.free_at, lambda t: first_token(t, lease, replica, turn, query))

        return now_do

    def first_token(now: float, lease: Lease, replica: Replica, turn: Turn, query: Query) -> None:
        lease.prefilled(now)
        profile.answered(query, replica.endpoint, now - query.now)
        replica.decoding += 1
        step = DECODE_STEP_S + DECODE_STEP_PER_REQUEST_S * replica.decoding
        at(now + turn.answer_tokens * step, lambda t: finish(lease, replica))

    def finish(lease: Lease, replica: Replica) -> None:
        lease.close()
        replica.decoding -= 1

    def scrape(now: float) -> None:
        for replica in fleet:
            replica.endpoint.load = replica.sample(now)
        if now < turns[-1].at:
            at(now + scrape_s, scrape)

    for turn in turns:
        at(turn.at, arrive(turn))
    at(0.0, scrape)
    while events:
        now, _, do = heappop(events)
        do(now)
    return ttft


def arrivals(rng: Random, rate: float, requests: int) -> Iterator[float]:
    """Poisson arrivals."""
    now = 0.0
    for _ in range(requests):
        now += rng.expovariate(rate)
        yield now


def conversations(seed: int, rate: float, requests: int) -> list[Turn]:
    """Sessions of growing length under one of 20 system prompts of 1,000 tokens, 1 % of them with a 60k-token file."""
    rng = Random(seed)
    systems = [rng.randbytes(4_000) for _ in range(20)]
    open_sessions: list[tuple[int, int, bytes]] = []
    names, turns = count(), []
    for at in arrivals(rng, rate, requests):
        if open_sessions and rng.random() < 0.75:
            name, group, text = open_sessions.pop(rng.randrange(len(open_sessions)))
        else:
            group = min(19, int(rng.expovariate(0.25)))
            name, text = next(names), systems[group] + (rng.randbytes(240_000) if rng.random() < 0.01 else b"")
        text += rng.randbytes(int(min(40_000.0, rng.lognormvariate(7.6, 1.0))))
        turns.append(Turn(at, text, [(f"g{group}", 1_000), (f"s{name}", len(text) // 4)], rng.randrange(20, 300)))
        if len(text) < 400_000:
            open_sessions.append((name, group, text))
        if len(open_sessions) > 400:
            open_sessions.pop(0)
    return turns


def documents(seed: int, rate: float, requests: int) -> list[Turn]:
    """Questions about one of 40 documents of 8,000 tokens, some much more asked than others."""
    rng = Random(seed)
    texts = [rng.randbytes(32_000) for _ in range(40)]
    turns = []
    for at in arrivals(rng, rate, requests):
        which = min(39, int(rng.paretovariate(0.8)) - 1)
        prompt = texts[which] + rng.randbytes(rng.randrange(100, 1_500))
        turns.append(Turn(at, prompt, [(f"d{which}", 8_000)], rng.randrange(20, 200)))
    return turns


def distinct(seed: int, rate: float, requests: int) -> list[Turn]:
    """Prompts that share nothing, with a long tail of sizes."""
    rng = Random(seed)
    return [
        Turn(at, rng.randbytes(int(min(200_000.0, rng.lognormvariate(7.6, 1.3)))), [], rng.randrange(20, 300))
        for at in arrivals(rng, rate, requests)
    ]
