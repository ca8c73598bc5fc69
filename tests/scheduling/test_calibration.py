"""A cache that is smaller, or larger, than was thought: what answers tell corrects the index."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from epp.domain import Candidate, Endpoint, Request, Usage
from epp.scheduling.calibration import GROW, REQUESTS, SHRINK, Calibration
from epp.scheduling.framework import Answer, Producer, Query
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.prefix import FACTOR_MIN, PrefixIndex, block_hashes

from . import make


def told(calibration: Calibration, endpoint: Endpoint, answers: Sequence[tuple[float, float]]) -> list[float]:
    return [calibration.note(endpoint, predicted, observed) for predicted, observed in answers]


def test_hits_that_do_not_come_shrink_and_hits_that_always_come_grow() -> None:
    (endpoint,) = make.endpoints(1)
    half = [(1.0, 1.0), (1.0, 0.0)] * (REQUESTS // 2)

    assert told(Calibration(), endpoint, half) == [1.0] * (REQUESTS - 1) + [SHRINK]
    assert told(Calibration(), endpoint, [(0.5, 0.5)] * REQUESTS)[-1] == GROW
    assert told(Calibration(), endpoint, [(0.5, 0.475)] * REQUESTS)[-1] == 1.0


def test_more_than_was_predicted_makes_up_for_nothing() -> None:
    (endpoint,) = make.endpoints(1)

    assert told(Calibration(), endpoint, [(0.1, 1.0), (1.0, 0.0)] * (REQUESTS // 2))[-1] == SHRINK


def test_an_engine_that_never_tells_of_a_hit_teaches_nothing() -> None:
    (endpoint,) = make.endpoints(1)

    assert set(told(Calibration(), endpoint, [(1.0, 0.0)] * 5 * REQUESTS)) == {1.0}


def test_prompts_that_were_not_thought_cached_teach_nothing() -> None:
    (endpoint,) = make.endpoints(1)

    assert set(told(Calibration(), endpoint, [(0.0, 0.9)] * 5 * REQUESTS)) == {1.0}


def serve(producer: Producer, prompt: bytes, pool: list[Endpoint], really_cached: float) -> None:
    query = make.query(prompt)
    producer.produce(query, pool)
    producer.picked(query, pool[0])
    producer.ended(query, pool[0], Answer(1.0, usage=Usage(1000, 10, int(1000 * really_cached))))


def test_an_endpoint_whose_cache_forgets_is_believed_to_hold_less() -> None:
    pool = [make.endpoint(cache_tokens=64_000)]
    producer, rng = ApproxPrefixCacheProducer(), Random(1)
    for _ in range(100):
        serve(producer, rng.randbytes(4096 * 4), pool, 0.0)
    before = producer.index.used_blocks(pool[0])
    again = rng.randbytes(4096 * 4)
    for n in range(4 * REQUESTS):
        serve(producer, again, pool, 1.0 if n % 2 else 0.0)

    assert before == 1000 - 1000 % 64 or before == 1000
    assert producer.index.used_blocks(pool[0]) < 0.9 * before


def test_what_is_believed_stays_within_bounds() -> None:
    index = PrefixIndex(64_000)
    told_by_engine, guessed = make.endpoint("a", cache_tokens=64_000), make.endpoint("b")
    prompts = [Random(n).randbytes(4096 * 4) for n in range(100)]
    for endpoint in (told_by_engine, guessed):
        for by in (0.5, 2.0):
            for _ in range(20):
                index.insert(block_hashes(prompts[0], "m"), endpoint)
                index.scale(endpoint, by)
            for prompt in prompts:
                index.insert(block_hashes(prompt, "m"), endpoint)
            held = index.used_blocks(endpoint)
            if by < 1:
                assert held == int(1000 * FACTOR_MIN)
            else:
                assert held == (1000 if endpoint is told_by_engine else 4000)


def test_the_engines_word_counts_only_where_tuning_is_automatic() -> None:
    endpoint = make.endpoint(cache_tokens=64_000)
    prompts = [Random(n).randbytes(4096 * 4) for n in range(40)]

    def held(auto_tune: bool) -> int:
        producer = ApproxPrefixCacheProducer(auto_tune=auto_tune, block_size_tokens=64, lru_capacity_per_server=100)
        for prompt in prompts:
            serve(producer, prompt, [endpoint], 0.0)
        return producer.index.used_blocks(endpoint)

    assert (held(True), held(False)) == (1000, 100)


def test_only_so_much_of_a_prompt_is_looked_at_as_the_parameters_say() -> None:
    pool, prompt = make.endpoints(1), Random(1).randbytes(8192)

    def looked_at(**parameters: int) -> int:
        query = make.query(prompt)
        ApproxPrefixCacheProducer(**parameters).produce(query, pool)
        return query.hashed

    assert looked_at() == 2048
    assert looked_at(max_prefix_tokens_to_match=1024, max_prefix_blocks_to_match=1) == 1024
    assert looked_at(max_prefix_blocks_to_match=32) == 512


def test_a_prefix_is_looked_up_anew_where_the_index_changed_between_two_looks() -> None:
    pool = [Endpoint("a", "10.0.0.1:8000"), Endpoint("b", "10.0.0.2:8000")]
    producer = ApproxPrefixCacheProducer()
    asked = Request(id="r", prompt=b"x" * 512, prompt_tokens=128)
    looks = [producer.cached(asked, "m", pool)]
    other = Query(Request(id="s", prompt=b"x" * 512, prompt_tokens=128), Candidate("m"), 0.0, Random(1))
    producer.produce(other, pool)
    producer.picked(other, pool[1])
    looks.append(producer.cached(asked, "m", pool))
    looks.append(producer.cached(asked, "m", pool[:1]))
    producer.moved(other, pool[1], pool[0])
    looks.append(producer.cached(asked, "m", pool))
    producer.relisted(pool[1:])
    looks.append(producer.cached(asked, "m", pool))

    assert looks == [{}, {pool[1]: 128}, {}, {pool[0]: 128}, {}]
