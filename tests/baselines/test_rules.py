"""Each baseline against vectors worked out by hand from its published formula."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from benchmarks.baselines import (
    consistent_hash_prefix,
    dynamo,
    least_request,
    llm_d_default,
    llm_d_nohit,
    llm_d_token_aware,
    lmetric,
    power_of_two,
    production_stack_prefix,
    production_stack_session,
    random_choice,
    round_robin,
    sglang_cache_aware,
)
from benchmarks.baselines.admission import LegacyGate, ProbabilisticAdmitter, saturation
from benchmarks.baselines.llm_d_index import LlmdPrefixProducer
from epp.scheduling.framework import Answer
from tests.baselines.vectors import choose, endpoints, query, text


def test_least_request_takes_the_fewest_in_flight_and_draws_among_equals() -> None:
    pool = endpoints(3, requests=[2, 1, 1])
    chosen = Counter(choose(least_request.profile(), query(seed=n), pool) for n in range(60))

    assert chosen.keys() == {"b", "c"}


def test_round_robin_goes_around() -> None:
    profile, pool = round_robin.profile(), endpoints(3, requests=[9, 0, 0])

    assert [choose(profile, query(), pool) for _ in range(4)] == ["a", "b", "c", "a"]


def test_random_takes_any() -> None:
    pool = endpoints(3, requests=[9, 0, 0])

    assert {choose(random_choice.profile(), query(seed=n), pool) for n in range(50)} == {"a", "b", "c"}


def test_power_of_two_never_takes_the_busiest_and_not_always_the_least_busy() -> None:
    pool = endpoints(3, requests=[0, 1, 2])
    chosen = Counter(choose(power_of_two.profile(), query(seed=n), pool) for n in range(300))

    # Of the three pairs, a is in two and wins both; c always meets somebody less busy.
    assert chosen["c"] == 0
    assert chosen["a"] / 300 == pytest.approx(2 / 3, abs=0.1)


def test_lmetric_multiplies_tokens_to_compute_and_the_batch() -> None:
    # (1000 + 512) * 1 = 1512; (200 + 512) * 2 = 1424; (0 + 512) * 3 = 1536
    pool = endpoints(3, tokens=[1_000, 200, 0], requests=[0, 1, 2])

    assert choose(lmetric.profile(), query(text(512, b"x")), pool) == "b"


def test_lmetric_counts_what_is_cached_as_computed() -> None:
    profile, pool = lmetric.profile(), endpoints(2)
    prompt = text(1_024, b"x")
    first = choose(profile, query(prompt), pool)
    for endpoint in pool:
        endpoint.inflight_requests = 3 if endpoint.name == first else 0  # 4 times nearly nothing, or 1,024

    assert choose(profile, query(prompt), pool) == first


def test_llm_d_default_adds_two_queue_two_kv_and_three_prefix() -> None:
    # a: 2 * (4-4)/(4-0) + 2 * 0.9 = 1.8; b: 2 * 1 + 2 * 0.2 = 2.4; c: 2 * 0.5 + 2 * 0.8 = 2.6
    pool = endpoints(3, waiting=[4, 0, 2], kv=[0.1, 0.8, 0.2])
    assert choose(llm_d_default.profile(), query(text(256, b"x")), pool) == "c"


def test_llm_d_default_lets_a_whole_match_outbid_a_queue() -> None:
    profile, pool, prompt = llm_d_default.profile(), endpoints(2), text(256, b"x")
    first = choose(profile, query(prompt), pool)
    for endpoint in pool:
        assert endpoint.load is not None
    busy = endpoints(2, waiting=[1, 0] if first == "a" else [0, 1])
    for endpoint, sample in zip(pool, busy, strict=True):
        endpoint.load = sample.load

    # 3 for the match and 2 for the KV cache, against 2 for the queue and 2 for the KV cache.
    assert choose(profile, query(prompt), pool) == first


def test_the_index_of_llm_d_counts_entries_of_64_tokens_against_engine_blocks_and_forgets_first_blocks_first() -> None:
    producer, (endpoint, _) = LlmdPrefixProducer(), endpoints(2)
    long, short = query(text(64 * 1_000, b"x")), query(text(64 * 10, b"y"))
    for asked in (long, short):
        producer.produce(asked, [endpoint])
        producer.picked(asked, endpoint)
    again = query(long.request.prompt)
    producer.produce(again, [endpoint])

    # 1,000 engine blocks of 16 tokens hold 16,000 tokens; the index has room for 64,000, less the 640 of the other
    # prompt, which pushed out the first blocks: the match ends at once, at a hash that nobody has.
    assert len(producer.entries[endpoint]) == 1_000
    assert again.cached == {}
    assert again.hashed == 64_000


def test_the_index_of_llm_d_counts_over_gaps_of_one_endpoint() -> None:
    producer, (one, other) = LlmdPrefixProducer(), endpoints(2)
    whole = query(text(64 * 8, b"x"))
    producer.produce(whole, [one, other])
    producer.picked(whole, one)
    producer.slots[other] = 1
    for block in whole.notes[id(producer)][4:]:  # the second half only
        producer.holders[block] |= 2
    again = query(whole.request.prompt)
    producer.produce(again, [one, other])

    assert again.cached == {one: 512, other: 256}


def test_no_hit_lru_gives_cold_prompts_to_who_had_none_longest() -> None:
    profile, pool = llm_d_nohit.profile(), endpoints(3)
    chosen = [choose(profile, query(text(256, b"%c" % (97 + n))), pool) for n in range(6)]

    assert sorted(chosen[:3]) == ["a", "b", "c"]
    assert chosen[3:] == chosen[:3]


def test_token_aware_stays_where_the_prompt_is_until_it_is_18_seconds_late() -> None:
    profile, pool, prompt = llm_d_token_aware.profile(), endpoints(2), text(1_024, b"x")
    first = choose(profile, query(prompt), pool)
    home = next(e for e in pool if e.name == first)
    home.inflight_tokens = int(17.9 * 15_928)
    stays = choose(profile, query(prompt), pool)
    home.inflight_tokens = int(18.1 * 15_928)
    goes = choose(profile, query(prompt), pool)

    assert stays == first != goes


def test_sglang_follows_the_longest_match_above_its_threshold_while_loads_are_balanced() -> None:
    profile, pool, prompt = sglang_cache_aware.profile(), endpoints(2, requests=[0, 1]), text(640, b"x")
    assert choose(profile, query(prompt), pool) == "a"
    pool[0].inflight_requests = 65
    matched = choose(profile, query(prompt), pool)  # 65 - 1 is not above 64
    below = choose(profile, query(prompt[:640] + text(640, b"y")), pool)  # 640 of 3,200 bytes are 0.2
    pool[0].inflight_requests = 66
    imbalanced = choose(profile, query(prompt), pool)

    assert (matched, below, imbalanced) == ("a", "b", "b")


def test_sglang_takes_the_first_of_workers_that_are_equally_busy() -> None:
    pool = endpoints(3, requests=[1, 0, 0])

    assert {choose(sglang_cache_aware.profile(), query(text(64, b"x"), seed=n), pool) for n in range(20)} == {"b"}


def test_sglang_forgets_a_worker_that_is_gone_and_takes_the_first_which_remembers_nothing() -> None:
    profile, pool, prompt = sglang_cache_aware.profile(), endpoints(3, requests=[1, 2, 0]), text(640, b"x")
    assert choose(profile, query(prompt), pool) == "c"
    left = pool[:2]
    left[0].inflight_requests = 5

    assert choose(profile, query(prompt), left) == "a"  # not the least busy
    assert choose(profile, query(prompt), left) == "b"  # nobody is known to have it


def test_production_stack_sends_what_shares_a_chunk_to_one_endpoint_whatever_it_has_to_do() -> None:
    profile, pool = production_stack_prefix.profile(), endpoints(4)
    shared = text(64, b"s")
    chosen = {choose(profile, query(shared + text(256, b"%c" % (97 + n))), pool) for n in range(20)}

    assert len(chosen) == 1


def test_production_stack_keeps_a_session_in_place_whatever_goes_on_there_and_others_by_their_number() -> None:
    profile, pool = production_stack_session.profile(), endpoints(4)
    homes = {}
    for n in range(40):
        asked = query(session=f"s{n}")
        homes[n] = choose(profile, asked, pool)
    pool[0].inflight_requests = 1_000
    spread = Counter(homes.values())
    least = min(pool, key=lambda e: spread[e.name]).name

    assert all(choose(profile, query(session=f"s{n}"), pool) == home for n, home in homes.items())
    left = [e for e in pool if e.name != homes[0]]
    assert all(choose(profile, query(session=f"s{n}"), left) == h for n, h in homes.items() if h != homes[0])
    assert len(spread) == 4
    profile = production_stack_session.profile()
    for n in range(40):
        choose(profile, query(session=f"s{n}"), pool)
    assert choose(profile, query(), pool) == least


def test_the_ring_keeps_a_prefix_in_place_and_lets_no_endpoint_have_more_than_its_bound() -> None:
    profile, pool, prompt = consistent_hash_prefix.profile(), endpoints(4), text(256, b"x")
    first = choose(profile, query(prompt), pool)
    assert {choose(profile, query(prompt, seed=n), pool) for n in range(9)} == {first}
    for endpoint in pool:
        endpoint.inflight_requests = 10
    home = next(e for e in pool if e.name == first)
    home.inflight_requests = 14  # of 44 + 1 over 4 endpoints, 1.25 times the mean is 14.06

    assert choose(profile, query(prompt), pool) != first


def test_dynamo_adds_blocks_to_prefill_and_blocks_to_hold() -> None:
    profile, pool = dynamo.profile(), endpoints(2)
    long, short = text(64 * 100, b"x"), text(64 * 10, b"y")
    asked = query(long)
    home = choose(profile, asked, pool)
    other = "b" if home == "a" else "a"

    # Nothing waits for prefill, but the long prompt's 100 blocks are held: 10 + 110 against 10 + 10.
    assert choose(profile, query(short), pool) == other
    # The same prompt again: 0 to prefill and 100 held, against 100 to prefill and 110 held.
    assert choose(profile, query(long), pool) == home
    endpoint = next(e for e in pool if e.name == home)
    profile.ended(asked, endpoint, Answer(1.0))
    held = profile.scorers[0][0]
    assert isinstance(held, dynamo.KvRouterScorer)
    assert len(held.active[endpoint]) == 100  # held once more by the second


def test_saturation_is_the_mean_of_the_worse_of_queue_and_cache() -> None:
    pool = endpoints(2, waiting=[5, 0], kv=[0.1, 0.4])

    assert saturation(pool, 0.1, 0.2) == pytest.approx((1.0 + 0.5) / 2)
    assert saturation(pool, 0.3, 0.2) == 1.0  # too old
    assert saturation([], 0.0, 0.2) == 1.0


def test_the_legacy_gate_drops_negative_priorities_while_saturated() -> None:
    full, idle, rng = endpoints(2, waiting=[5, 5]), endpoints(2, waiting=[5, 4]), Random(0)

    assert LegacyGate().refuses(-1, full, 0.0, rng) == "saturated"
    assert LegacyGate().refuses(-1, idle, 0.0, rng) is None
    assert LegacyGate().refuses(0, full, 0.0, rng) is None


def test_the_probabilistic_admitter_drops_by_300_times_the_fifth_power() -> None:
    pool, rng = endpoints(1, waiting=[1]), Random(1)  # 300 * 0.2 ** 5 = 0.096
    dropped = sum(ProbabilisticAdmitter().refuses(-1, pool, 0.0, rng) is not None for _ in range(5_000))

    assert dropped / 5_000 == pytest.approx(0.096, abs=0.015)
    assert ProbabilisticAdmitter().refuses(-1, endpoints(1, waiting=[2]), 0.0, rng) == "saturated"  # 3.07
    assert ProbabilisticAdmitter().refuses(0, endpoints(1, waiting=[9]), 0.0, rng) is None
