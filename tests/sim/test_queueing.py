"""The simulated replica behind the real picker, against closed forms."""

from __future__ import annotations

from random import Random
from statistics import fmean

import pytest

from benchmarks.sim.fleet import ENGINE_BLOCK_TOKENS, Isolated, prefill_s
from tests.sim import make


@pytest.mark.parametrize("busy", [0.3, 0.7])
def test_one_at_a_time_waits_as_pollaczek_and_khinchine_say(busy: float) -> None:
    rng, spec = Random(5), make.fleet(1, sequences_max=1)
    alone = Isolated(spec).seconds
    sizes = [1 + min(12_000, int(rng.expovariate(1 / 1_500))) for _ in range(6_000)]
    service = [alone(size) for size in sizes]
    rate, now, arrivals = busy / fmean(service), 0.0, []
    for number, size in enumerate(sizes):
        now += rng.expovariate(rate)
        arrivals.append(make.alone(size, at=now, number=number))
    flights = make.world(arrivals, spec=spec, scrape_s=10.0).run()

    waited = fmean(f.ttft_s - alone(f.ask.prompt_tokens) for f in flights if f.ttft_s is not None)
    expected = rate * fmean(s * s for s in service) / (2 * (1 - busy))
    assert waited == pytest.approx(expected, rel=0.12)


def test_a_saturated_replica_fills_every_step_to_its_budget() -> None:
    spec = make.fleet(1)
    config = spec.config(spec.kinds[0], ENGINE_BLOCK_TOKENS)
    share = config.batch_tokens_max // 8
    full_s = config.cost.seconds(
        tokens=config.batch_tokens_max, sequences=8, decode_context=0, prefill_pairs=8 * share * share / 2
    )
    flights = make.world([make.alone(share, number=i) for i in range(800)], spec=spec).run()

    took = max(f.ended for f in flights if f.ended is not None)
    assert took == pytest.approx(100 * full_s, rel=0.01)  # the first arrival has a step of its own


def test_a_long_prompt_is_prefilled_at_the_published_speed() -> None:
    spec = make.fleet(1)
    config = spec.config(spec.kinds[0], ENGINE_BLOCK_TOKENS)

    assert config.batch_tokens_max / prefill_s(config, config.batch_tokens_max) == pytest.approx(36_700, rel=0.01)


def test_equal_replicas_take_equal_shares_of_a_saturating_load() -> None:
    flights = make.world([make.alone(1_000, 20, number=i) for i in range(300)], spec=make.fleet(3)).run()

    counts = [sum(f.member == f"h100-{n}" for f in flights) for n in range(3)]
    assert counts == [100, 100, 100]
