"""The default profile: what outbids what, bursts that must not herd, and its numbers against simpler rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from math import exp, fsum, log
from random import Random
from statistics import fmean

import pytest

from epp.domain import Endpoint
from epp.scheduling.default import default_profile
from epp.scheduling.framework import Profile
from epp.scheduling.plugins.active_request import ActiveRequestScorer
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.plugins.kv_cache_utilization import KvCacheUtilizationScorer
from epp.scheduling.plugins.max_score import MaxScorePicker
from epp.scheduling.plugins.prefix_cache import PrefixCacheScorer
from epp.scheduling.plugins.queue import QueueScorer
from epp.scheduling.plugins.token_load import TokenLoadScorer
from epp.scheduling.reckoner import Reckoner

from . import make, replicas

BURST = 256
PROMPT = Random(5).randbytes(4096)


def choose(profile: Profile, pool: Sequence[Endpoint], prompt: bytes = PROMPT, seed: int = 0) -> Endpoint:
    pick = profile.run(make.query(prompt, seed=seed), pool)
    assert pick is not None
    return pick.endpoint


def warmed(endpoint: Endpoint) -> Profile:
    """The default profile, after it sent PROMPT to this endpoint."""
    profile = default_profile()
    asked = make.query(PROMPT)
    pick = profile.run(asked, [endpoint])
    assert pick is not None
    profile.picked(asked, pick.endpoint)
    return profile


def test_one_request_in_flight_does_not_outbid_a_full_match() -> None:
    pool = make.endpoints(2)
    profile = warmed(pool[0])
    pool[0].inflight_requests = 1

    assert choose(profile, pool) is pool[0]


def test_many_requests_in_flight_outbid_a_full_match() -> None:
    pool = make.endpoints(2)
    profile = warmed(pool[0])
    pool[0].inflight_requests = 8

    assert choose(profile, pool) is pool[1]


def test_a_huge_prompt_in_prefill_outbids_a_full_match() -> None:
    pool = make.endpoints(2)
    profile = warmed(pool[0])
    make.send(profile, make.query(Random(6).randbytes(400_000)), pool[:1])

    assert choose(profile, pool) is pool[1]


def behind(prompts: tuple[int, int], prompt: bytes) -> set[int]:
    """Who is chosen where both have the same work, requests and tokens, in so many prompts that wait."""
    pool = make.endpoints(2)
    for endpoint, waiting in zip(pool, prompts, strict=True):
        endpoint.work_s, endpoint.work_prompts, endpoint.inflight_requests = 0.2, waiting, 4
    return {pool.index(choose(default_profile(), pool, prompt, seed)) for seed in range(20)}


def test_a_long_prompt_is_sent_where_it_holds_up_fewer_answers_that_begin() -> None:
    assert behind((2, 1), Random(1).randbytes(60_000)) == {1}


def test_a_short_prompt_holds_up_nobody() -> None:
    assert behind((2, 1), PROMPT) == {0, 1}


def test_in_a_burst_it_is_seconds_that_count() -> None:
    assert behind((20, 10), Random(1).randbytes(60_000)) == {0, 1}


def test_requests_that_others_sent_count_too() -> None:
    pool = [make.endpoint("a", waiting=6, running=4, kv_usage=0.1), make.endpoint("b", waiting=0, kv_usage=0.1)]

    assert choose(default_profile(), pool) is pool[1]


def test_a_kv_cache_that_is_nearly_full_outbids_a_match() -> None:
    pool = [make.endpoint("a", kv_usage=0.99, waiting=0), make.endpoint("b", kv_usage=0.5, waiting=0)]
    profile = warmed(pool[0])

    assert choose(profile, pool) is pool[1]


def test_a_slow_endpoint_is_learned_and_gets_less() -> None:
    pool, profile, shares = make.endpoints(2), default_profile(), Counter[str]()
    now, free = 0.0, dict.fromkeys(pool, 0.0)
    for number, prompt in enumerate(distinct(0, least=8_000, most=16_000) * 2):
        asked = make.query(prompt, rng=Random(number), now=now)
        pick, lease = make.send(profile, asked, pool)
        endpoint = pick.endpoint
        took = len(prompt) / 4 * (22e-6 if endpoint is pool[0] else 110e-6)
        free[endpoint] = max(now, free[endpoint]) + took
        profile.answered(asked, endpoint, free[endpoint] - now)
        lease.close(now)
        now = free[endpoint] if number % 2 else now
        shares[endpoint.name] += number > 100

    assert shares["e0"] > 1.5 * shares["e1"]


def test_an_unreachable_endpoint_is_not_chosen_for_its_cache() -> None:
    pool = make.endpoints(2)
    profile = warmed(pool[0])
    pool[0].reachable = False

    assert choose(profile, pool) is pool[1]


def test_no_endpoint_is_no_choice() -> None:
    assert default_profile().run(make.query(), []) is None


@pytest.mark.parametrize("age", [None, 60.0])
def test_an_endpoint_that_went_silent_is_neither_drowned_nor_starved(age: float | None) -> None:
    for seed in range(10):
        pool = [make.endpoint(f"e{i}", waiting=i % 3, kv_usage=i / 8, age=0.0) for i in range(7)]
        silent = make.endpoint("silent", waiting=0, kv_usage=0.0, age=age)

        shares = burst(distinct(seed), [*pool, silent], seed)

        assert 0.8 <= shares[silent] / (BURST / 8) <= 1.2, f"seed {seed}: {shares[silent]}"


def burst(prompts: Sequence[bytes], pool: Sequence[Endpoint], seed: int, rule: str = "default") -> Counter[Endpoint]:
    """How many of these simultaneous requests each endpoint gets: nothing ends, no sample is renewed."""
    profile, rng = RULES[rule](), Random(seed)
    return Counter(make.send(profile, make.query(prompt, rng=rng), pool)[0].endpoint for prompt in prompts)


def distinct(seed: int, start: bytes = b"", least: int = 800, most: int = 3000) -> list[bytes]:
    rng = Random(seed)
    return [start + rng.randbytes(rng.randrange(least, most)) for _ in range(BURST)]


PROMPTS: dict[str, Callable[[int], list[bytes]]] = {
    "distinct": distinct,
    "shorter than a block": lambda seed: distinct(seed, least=10, most=200),
    "common chat template": lambda seed: distinct(seed, b"t" * 200),
    "common 4 KB system prompt": lambda seed: distinct(seed, Random(0).randbytes(4096)),
    "common 4 KB system prompt, short questions": lambda seed: distinct(seed, Random(0).randbytes(4096), 20, 200),
    "one 64 KB prompt": lambda seed: [Random(seed).randbytes(65_536)] * BURST,
    "no prompt": lambda seed: [b""] * BURST,
}


SAID_IDLE = {"fresh": 8, "none": 0, "stale, one flattered": 1, "stale, one slandered": 7}


def eight_that_say(samples: str) -> list[Endpoint]:
    """Equal endpoints of which the first few are said to be idle and the others not, for as long as the burst lasts."""
    idle = SAID_IDLE[samples]
    if not idle:
        return [make.endpoint(f"e{i}", age=None) for i in range(8)]
    said = [(0.0, 0.0)] * idle + [(5.0, 0.5)] * (8 - idle)
    return [make.endpoint(f"e{i}", waiting=waiting, kv_usage=kv) for i, (waiting, kv) in enumerate(said)]


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("samples", SAID_IDLE)
def test_a_burst_does_not_herd(kind: str, seed: int, samples: str) -> None:
    pool = eight_that_say(samples)

    shares = burst(PROMPTS[kind](seed), pool, seed)

    assert max(shares.values()) <= 1.2 * BURST / len(pool), f"seed {seed}: {sorted(shares.values())}"


def unequal(seed: int) -> list[bytes]:
    """Most prompts short, some a hundred times as long."""
    rng = Random(seed)
    return [rng.randbytes(int(min(200_000.0, rng.lognormvariate(8.0, 1.2)))) for _ in range(BURST)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("samples", SAID_IDLE)
def test_a_burst_of_very_unequal_prompts_trades_few_requests_for_tokens(seed: int, samples: str) -> None:
    pool = eight_that_say(samples)

    shares = burst(unequal(seed), pool, seed)

    assert max(shares.values()) <= 1.5 * BURST / len(pool), f"seed {seed}: {sorted(shares.values())}"


def test_a_burst_of_very_unequal_prompts_is_served_sooner_than_by_counting_requests() -> None:
    def served(rule: str) -> tuple[float, float]:
        bursts = [[replicas.Turn(0.001, prompt, [], 100) for prompt in unequal(seed)] for seed in range(10)]
        runs = [sorted(replicas.run(RULES[rule](), turns, 8, seed)) for seed, turns in enumerate(bursts)]
        return fmean(map(fmean, runs)), fmean(run[len(run) * 95 // 100] for run in runs)

    (mean, p95), (other_mean, other_p95) = served("default"), served("least requests")

    assert mean <= 0.9 * other_mean
    assert p95 <= other_p95


@pytest.mark.parametrize("seed", range(5))
def test_a_shared_prompt_spreads_only_as_far_as_the_load_asks(seed: int) -> None:
    """One after another the requests stay where the prompt is; 5 at once already use a second endpoint, not all."""
    pool, profile, rng = make.endpoints(8), default_profile(), Random(seed)
    visited = set()
    for prompt in distinct(seed, Random(0).randbytes(4096), 20, 200)[:20]:
        pick, lease = make.send(profile, make.query(prompt, rng=rng), pool)
        lease.close()
        visited.add(pick.endpoint)

    assert len(visited) == 1, f"seed {seed}"

    for prompt in distinct(seed + 1, Random(0).randbytes(4096), 20, 200)[:6]:
        visited.add(make.send(profile, make.query(prompt, rng=rng), pool)[0].endpoint)

    assert 2 <= len(visited) <= 4, f"seed {seed}"


def rule(*, sampled: float, prefix: float, active: float, softness: float = 0.0, tokens: float = 0.0) -> Profile:
    """The default's plugins with other weights; `sampled` is for queue and KV cache each."""
    return Profile(
        name="rule",
        producers=[ApproxPrefixCacheProducer()],
        scorers=[
            (QueueScorer(), sampled),
            (KvCacheUtilizationScorer(), sampled),
            (PrefixCacheScorer(), prefix),
            (ActiveRequestScorer(softness=softness), active),
            (TokenLoadScorer(queue_threshold_tokens=131_072), tokens),
        ],
        picker=MaxScorePicker(),
    )


RULES: dict[str, Callable[[], Profile]] = {
    "default": default_profile,
    "llm-d": lambda: rule(sampled=2, prefix=3, active=0),
    "least requests": lambda: rule(sampled=0, prefix=0, active=1),
}
LOADS: dict[str, tuple[Callable[[int, float, int], list[replicas.Turn]], tuple[float, float]]] = {
    "conversations": (replicas.conversations, (22.0, 34.0)),
    "documents": (replicas.documents, (60.0, 120.0)),
    "distinct": (replicas.distinct, (60.0, 100.0)),
}


@cache
def ttft(name: str, load: str) -> tuple[float, float]:
    """Geometric means over rates and seeds of the mean and the p99 seconds to first token."""
    make_trace, rates = LOADS[load]
    runs = [
        sorted(replicas.run(RULES[name](), make_trace(seed, rate, 1500), replicas=8, seed=seed))
        for rate in rates
        for seed in (1, 2, 3)
    ]
    logs = [(log(fmean(run)), log(run[len(run) * 99 // 100])) for run in runs]
    return exp(fsum(m for m, _ in logs) / len(logs)), exp(fsum(p for _, p in logs) / len(logs))


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("other", ["llm-d", "least requests"])
def test_the_default_is_no_worse_than_a_simpler_rule_and_has_a_shorter_tail(load: str, other: str) -> None:
    mean, p99 = ttft("default", load)
    other_mean, other_p99 = ttft(other, load)

    assert mean <= 1.05 * other_mean
    assert p99 <= 0.95 * other_p99


def test_the_reckoner_follows_the_list_it_is_asked_about() -> None:
    """What it knows of a pool's endpoints it looks up once, until the list changes or some are to be forgotten."""
    reckoner, known = Reckoner(), tuple(make.endpoints(3))
    reckoner.speed(known[2]).ratio = 4.0

    def works(endpoints: Sequence[Endpoint]) -> list[float]:
        _, _, found = reckoner.costs(1000, {}, endpoints, make.NOW)
        return [round(work / found[0], 6) for work in found]

    assert works(known) == works(known) == [1.0, 1.0, 4.0]
    assert works((known[0], known[2])) == [1.0, 4.0]
    assert works(known) == [1.0, 1.0, 4.0]
    reckoner.keep(known[:2])  # it left, and came back as one that nothing is known of
    assert works(known) == [1.0, 1.0, 1.0]
    mutable = list(known[:1])
    assert works(mutable) == [1.0]
    reckoner.speed(known[1]).ratio = 2.0
    mutable.append(known[1])
    assert works(mutable) == [1.0, 2.0]
