"""How fast an endpoint is: learned on any hardware, in spite of stalls, and forgotten when the engine begins anew."""

from __future__ import annotations

from math import exp, inf, log
from random import Random

import pytest

from epp.domain import Load
from epp.scheduling.speed import Fit, Speed, Typical, shape
from epp.scheduling.unseen import Sent


@pytest.mark.parametrize("k", [0.3, 1.0, 5.0, 14.0])
def test_any_hardware_is_learned_from_its_prompts(k: float) -> None:
    fit, rng = Fit(), Random(k)
    for _ in range(200):
        work = shape(rng.randrange(50, 20_000), rng.randrange(0, 20_000))
        fit.learn(work, (0.03 + k * work) * rng.uniform(0.9, 1.1))

    assert fit.seconds(shape(8_000, 0)) == pytest.approx(0.03 + k * shape(8_000, 0), rel=0.1)


def test_a_stall_is_not_taken_for_prefill() -> None:
    fit, work = Fit(), shape(4_000, 0)
    for _ in range(100):
        fit.learn(work, fit.seconds(work))
    before = fit.seconds(work)
    fit.learn(work, 60.0)

    assert fit.seconds(work) < 1.2 * before


def test_prompts_that_wait_for_each_other_are_told_apart() -> None:
    speed = Speed(Typical())
    for round_ in range(100):
        now = 100.0 * round_
        for place in range(5):
            speed.computed(shape(10_000, 0), now, now + (place + 1) * 2 * shape(10_000, 0))

    assert speed.seconds(shape(10_000, 0)) == pytest.approx(2 * shape(10_000, 0), rel=0.1)


def sample(at: float, seconds: float, tokens: float) -> Load:
    return Load(at=at, decode_seconds=seconds, decode_tokens=tokens)


def test_the_pace_is_that_of_the_last_moments() -> None:
    speed = Speed(Typical())
    for second in range(10):
        speed.look(sample(second, 10.0 * second, 1000.0 * second), 0)
    slow = speed.pace_s
    for second in range(10, 20):
        speed.look(sample(second, 100.0 + 50.0 * (second - 9), 10_000.0 + 1000.0 * (second - 9)), 0)

    assert slow == pytest.approx(0.01)
    assert speed.pace_s == pytest.approx(0.05, rel=0.02)


def test_an_engine_that_began_anew_has_no_pace_yet() -> None:
    speed = Speed(Typical())
    speed.look(sample(0.0, 10.0, 1000.0), 0)
    speed.look(sample(1.0, 20.0, 2000.0), 0)
    speed.look(sample(2.0, 0.5, 10.0), 0)

    assert speed.pace_s == 0.0


def test_what_the_ledger_does_not_know_of_is_others() -> None:
    speed = Speed(Typical())
    speed.look(Load(at=0.0, waiting=3, running=5), inflight=2)

    assert (speed.others, speed.others_waiting) == (6, 3)


def test_one_huge_prompt_does_not_make_an_endpoint_fast() -> None:
    typical, work, huge = Typical(), shape(200, 0), shape(200_000, 0)
    equal, odd = Speed(typical), Speed(typical)
    for n in range(40):
        for speed in (equal, odd):
            speed.computed(work, 1000.0 * n, 1000.0 * n + 0.02)
    odd.computed(huge, 90_000.0, 90_000.0 + 0.2 * huge)

    assert odd.seconds(work) > 0.8 * equal.seconds(work)


def test_a_few_slow_samples_do_not_make_an_endpoint_slow_and_many_do() -> None:
    typical, work = Typical(), shape(10_000, 0)
    equal, odd = Speed(typical), Speed(typical)
    for n in range(100):
        equal.computed(work, 100.0 * n, 100.0 * n + work)
    for n in range(3):
        odd.computed(work, 100.0 * n, 100.0 * n + 3 * work)
    equal.look(None, 0)
    few = odd.seconds(work) / equal.seconds(work)
    for n in range(3, 200):
        odd.computed(work, 100.0 * n, 100.0 * n + 3 * work)

    equal.look(None, 0)

    assert 1.0 < few < 1.6
    assert odd.seconds(work) / equal.seconds(work) == pytest.approx(3.0, rel=0.15)


def test_how_endpoints_differ_is_their_mean_square_around_the_mean_of_their_logarithms() -> None:
    typical = Typical()
    typical.compare(2.0)
    first = (typical.mean, typical.spread, typical.level)
    typical.compare(8.0)

    assert first == pytest.approx((log(2), 0.0, 2.0))
    assert typical.mean == pytest.approx(log(2) + log(4) / 1.995)  # the first fades to 0.995
    assert typical.spread == pytest.approx(log(4) ** 2 / 1.995)


def test_how_samples_differ_is_their_mean_square_around_what_was_known() -> None:
    typical = Typical()
    typical.surprise(2 * exp(1), 2.0)
    first = typical.noise
    typical.surprise(2.0, 2.0)

    assert (first, typical.noise) == pytest.approx((1.0, 1.0 - 1.0 / 1.995))


@pytest.mark.parametrize(
    ("spread", "noise", "believed"),
    [
        (0.04, 0.16, exp(0.5 * 0.5 * 2)),  # chance makes half of what they differ by; eight samples count for half
        (0.04, 0.0, exp(0.5 * 2)),
        (0.02, 0.16, 1.0),  # all of it may be chance
    ],
)
def test_an_endpoint_is_believed_as_far_as_endpoints_differ_by_more_than_chance(
    spread: float, noise: float, believed: float
) -> None:
    typical = Typical()
    typical.spread, typical.noise = spread, noise

    assert typical.believed(exp(2), 8.0) == pytest.approx(believed)


@pytest.mark.parametrize(("blocks", "size", "part"), [(100, 16, 1 / 1600), (100, None, 0.0), (None, 16, 0.0)])
def test_a_tokens_part_of_the_cache_is_known_where_its_size_is(
    blocks: int | None, size: int | None, part: float
) -> None:
    speed = Speed(Typical())
    speed.look(Load(at=0.0, num_blocks=blocks, block_size=size), 0)

    assert speed.per_token == part


def counted(at: float, tokens: float, seconds: float, **more: float) -> Load:
    return Load(at=at, first_tokens=tokens, first_token_seconds=seconds, **more)


@pytest.mark.parametrize(("at", "learned"), [(59.9, False), (60.0, True)])
def test_while_we_see_first_tokens_ourselves_the_engines_count_of_them_teaches_nothing(
    at: float, learned: bool
) -> None:
    """For a minute: those that the gateway shows tell more."""
    speed, work = Speed(Typical()), shape(10_000, 0)
    speed.look(counted(0.0, 0.0, 0.0), 0)
    speed.seen(Sent(0.0, work), 0.0)
    before = speed.seconds(work)
    speed.send(Sent(0.0, work))
    speed.look(counted(at, 1.0, 6 * work), 1)

    assert (speed.seconds(work) > before) is learned
    assert len(speed.unseen) == 0


@pytest.mark.parametrize(("others", "learned"), [(0.0, True), (1.0, False)])
def test_where_others_send_too_the_engines_count_teaches_nothing(others: float, learned: bool) -> None:
    speed, work = Speed(Typical()), shape(10_000, 0)
    speed.look(counted(0.0, 0.0, 0.0, running=others), 0)
    before = speed.seconds(work)
    speed.send(Sent(0.0, work))
    speed.look(counted(9.0, 1.0, 6 * work, running=1.0 + others), 1)

    assert (speed.seconds(work) > before) is learned


def test_a_prompt_is_noted_only_where_the_engine_counts_first_tokens() -> None:
    speed = Speed(Typical())
    speed.send(Sent(0.0, 1.0))
    speed.look(Load(at=1.0), 0)
    speed.send(Sent(1.0, 1.0))
    silent = len(speed.unseen)
    speed.look(counted(2.0, 0.0, 0.0), 0)
    speed.send(Sent(2.0, 1.0))

    assert (silent, len(speed.unseen)) == (0, 1)


def test_without_a_sample_its_moment_is_not_known() -> None:
    speed = Speed(Typical())
    speed.look(Load(at=5.0, waiting=3, kv_usage=0.5), 0)
    told = (speed.sampled_at, speed.waiting, speed.held)
    speed.look(None, 0)

    assert told == (5.0, 3, 0.5)
    assert speed.sampled_at == -inf


def test_others_are_told_half_by_the_last_sample() -> None:
    """Requests end between a sample and the look at it."""
    speed = Speed(Typical())
    speed.look(Load(at=0.0, waiting=4, running=4), 0)
    speed.look(Load(at=1.0), 0)

    assert (speed.others, speed.others_waiting) == (4.0, 0.0)


def test_samples_of_one_endpoint_that_differ_are_noted_as_noise() -> None:
    typical, work = Typical(), shape(10_000, 0)
    speed = Speed(typical)
    for n in range(20):
        speed.computed(work, 100.0 * n, 100.0 * n + work * (1 + n % 2))

    assert typical.noise > 0.01


def test_old_prompts_fade_from_a_fit() -> None:
    """A hundred times as many prompts as one counts for: nothing is left of the hardware of before."""
    fit, small, large = Fit(), shape(1_000, 0), shape(20_000, 0)
    for k in (1.0, 3.0):
        for _ in range(2_000):
            for work in (small, large):
                fit.learn(work, 0.02 + k * work)

    assert fit.seconds(small) == pytest.approx(0.02 + 3.0 * small, rel=0.02)
    assert fit.seconds(large) == pytest.approx(0.02 + 3.0 * large, rel=0.02)
