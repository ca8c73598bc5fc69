"""Answers against the objectives of `bench sim`, and hits by the servers' counters."""

from __future__ import annotations

from benchmarks.live.judged import Judge, prefix_counts
from benchmarks.live.messages import Result, Sample, Shot
from benchmarks.sim.fleet import FleetSpec, Isolated
from benchmarks.sim.summary import Slo

FLEET = FleetSpec.parse("llama3-8b", "h100", 1)
SHOT = Shot(0.0, 8_192, 100, (0,))


def met(time_factor: float, *samples: Sample) -> int:
    return Judge(FLEET, time_factor, (), Slo(2.0, 2.0, 0.1)).met([SHOT], Result(list(samples), b"", 1.0, 0.1))


def answered(ttft_s: float, token_s: float, status: str = "200", tokens: int = 101) -> Sample:
    return Sample(0, 0.0, status, ttft_s=ttft_s, e2e_s=ttft_s + token_s * (tokens - 1), tokens=tokens)


def test_both_objectives_must_be_kept_and_a_long_prompt_has_longer() -> None:
    limit = 2.0 + 2.0 * Isolated(FLEET).seconds(8_192)

    assert limit > 2.3
    assert met(1.0, answered(limit - 0.01, 0.09)) == 1
    assert met(1.0, answered(limit + 0.01, 0.09)) == 0
    assert met(1.0, answered(0.1, 0.11)) == 0
    assert met(1.0, answered(0.1, 0.01, status="503")) == 0
    assert met(1.0, answered(0.1, 0.0, tokens=1)) == 1


def test_where_a_gpu_second_takes_less_there_is_less_time() -> None:
    assert met(0.5, answered(1.1, 0.04)) == 1
    assert met(0.5, answered(1.1, 0.06)) == 0
    assert met(0.5, answered(1.3, 0.04)) == 0


def test_counters_of_all_servers_are_added_up() -> None:
    page = (
        "# TYPE vllm:prefix_cache_queries_total counter\n"
        'vllm:prefix_cache_queries_total{model_name="m",engine="0"} 100.0\n'
        'vllm:prefix_cache_queries_created{model_name="m",engine="0"} 1.7e9\n'
        'vllm:prefix_cache_hits_total{model_name="m",engine="0"} 25.0\n'
    )

    assert prefix_counts([page, page]) == (200.0, 50.0)
