"""The replica model in virtual time: order, room, cache, preemption and closed forms."""

import pytest

from benchmarks.simulator.sequence import Job, State
from tests.simulator import make


def test_a_single_request_takes_its_prefill_and_one_step_per_further_token() -> None:
    run = make.Run(make.replica())
    sequence = run.submit(make.job(prompt=100, output=5))

    run.to_the_end()

    assert sequence.state is State.FINISHED
    assert sequence.first_token_at == pytest.approx(0.100, rel=1e-3)  # 1 ms a token
    assert sequence.finished_at == pytest.approx(0.100 + 4 * 0.010, rel=1e-3)


def test_h100_times_of_one_request_follow_the_formula() -> None:
    run = make.Run(make.h100())
    sequence = run.submit(make.job(prompt=8192, output=2))

    run.to_the_end()

    prefill = (2.9 + 0.022 * 8192 + 1 + 0.0045) / 1e3 + 524_288 * 8192**2 / 2 / 450e12
    decode = (6.1 + 0.0065 + 6.5e-5 * 8193 + 1 + 0.0045) / 1e3
    assert sequence.first_token_at == pytest.approx(prefill)
    assert sequence.finished_at == pytest.approx(prefill + decode)


def test_a_prompt_longer_than_the_budget_is_computed_in_chunks() -> None:
    run = make.Run(make.replica(batch_tokens_max=256))
    run.submit(make.job(prompt=1000, output=1))

    run.to_the_end()

    assert run.steps == 4
    assert run.tokens == 1


def test_requests_are_admitted_in_the_order_of_arrival() -> None:
    run = make.Run(make.replica(sequences_max=1))
    sequences = [run.submit(make.job(prompt=prompt)) for prompt in (200, 10, 100)]

    run.to_the_end()

    assert run.first == sequences
    assert run.finished == sequences


def test_a_head_that_finds_no_room_blocks_those_behind_it() -> None:
    run = make.Run(make.replica(kv_blocks=10))
    holder = run.submit(make.job(prompt=100, output=20))
    run.step()
    large, small = run.submit(make.job(prompt=100, output=2)), run.submit(make.job(prompt=10, output=2))

    run.step()

    assert list(run.replica.scheduler.waiting) == [large, small]
    run.to_the_end()
    assert run.finished == [holder, large, small]


def test_a_twin_prompt_has_its_first_token_sooner() -> None:
    run = make.Run(make.replica())
    first = run.submit(make.job(prompt=200, content="x"))
    run.to_the_end()
    began = run.now
    twin = run.submit(make.job(prompt=200, content="x"))

    run.to_the_end()

    assert twin.cached_tokens == 192
    assert twin.first_token_at is not None
    assert first.first_token_at is not None
    assert twin.first_token_at - began < first.first_token_at / 5


def test_at_least_one_token_of_a_cached_prompt_is_computed() -> None:
    run = make.Run(make.replica())
    run.submit(make.job(prompt=64, output=1, content="x"))
    run.to_the_end()

    twin = run.submit(make.job(prompt=64, output=1, content="x"))
    run.to_the_end()

    assert twin.cached_tokens == 48


def test_twins_in_one_step_share_their_blocks() -> None:
    run = make.Run(make.replica())
    for _ in range(2):
        run.submit(make.job(prompt=100, content="x"))

    run.step()

    assert run.replica.scheduler.cache.pool.free == 1000 - 7 - 1
    assert run.replica.stats.prefix_hits == 96
    assert run.replica.stats.prefix_queries == 200


def test_the_next_turn_of_a_chat_hits_the_answer_too() -> None:
    run = make.Run(make.replica())
    run.submit(make.job(prompt=32, output=33, content="chat"))
    run.to_the_end()

    next_turn = run.submit(make.job(prompt=100, content="chat"))
    run.to_the_end()

    assert next_turn.cached_tokens == 64  # 32 + 32 computed: the last token of an answer never is


def test_blocks_of_an_answer_are_hits_while_it_is_still_written() -> None:
    run = make.Run(make.replica())
    run.submit(make.job(prompt=32, output=100, content="chat"))
    for _ in range(40):
        run.step()

    reader = run.submit(make.job(prompt=120, output=1, content="chat"))
    run.step()

    assert reader.cached_tokens == 64


def test_freed_blocks_are_reused_oldest_first_and_tails_before_heads() -> None:
    run = make.Run(make.replica(kv_blocks=10))
    for content in ("old", "new"):
        run.submit(make.job(prompt=64, output=1, content=content))
        run.to_the_end()
    run.submit(make.job(prompt=64, output=1))
    run.to_the_end()

    new = run.submit(make.job(prompt=80, output=1, content="new"))
    run.to_the_end()
    old = run.submit(make.job(prompt=80, output=1, content="old"))
    run.to_the_end()

    assert new.cached_tokens == 64
    assert 0 < old.cached_tokens < 64


def test_kv_usage_counts_cached_blocks_as_free() -> None:
    run = make.Run(make.replica(kv_blocks=100))
    run.submit(make.job(prompt=160, output=2, content="x"))

    run.step()
    assert run.replica.load.kv_usage == pytest.approx(0.10)

    run.to_the_end()
    assert run.replica.load.kv_usage == 0
    assert run.replica.scheduler.cache.pool.empty == 90


def test_a_long_prefill_slows_those_who_decode() -> None:
    run = make.Run(make.replica())
    run.submit(make.job(prompt=10, output=50))
    run.step()
    run.step()
    alone = run.now
    run.step()
    alone = run.now - alone

    run.submit(make.job(prompt=200, output=1))
    together = run.now
    run.step()
    together = run.now - together

    assert together == pytest.approx(0.201, rel=1e-3)
    assert alone == pytest.approx(0.010)


def test_preemption_takes_the_last_and_recomputes_it() -> None:
    run = make.Run(make.replica(kv_blocks=10))
    early = run.submit(make.job(prompt=64, output=60))
    late = run.submit(make.job(prompt=64, output=60, content="late"))

    run.to_the_end()

    assert run.finished == [early, late]
    assert (early.preemptions, late.preemptions) == (0, 1)
    assert early.generated == late.generated == 60
    assert run.replica.stats.preemptions == 1
    assert run.tokens == run.replica.stats.generation_tokens == 120
    assert run.replica.stats.itl.count == 118
    assert run.replica.stats.itl.sum == pytest.approx(
        sum(s.finished_at - s.first_token_at for s in (early, late) if s.finished_at and s.first_token_at)
    )
    assert late.cached_tokens == 0, "what it recomputes is no hit of its prompt"


def test_a_preempted_request_goes_before_those_who_wait() -> None:
    run = make.Run(make.replica(kv_blocks=10, sequences_max=2))
    run.submit(make.job(prompt=64, output=60))
    late = run.submit(make.job(prompt=64, output=60))
    run.step()
    run.submit(make.job(prompt=16, output=1))

    while not late.preemptions:
        run.step()

    assert next(iter(run.replica.scheduler.waiting)) is late


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_abort_frees_everything_wherever_the_request_is(steps: int) -> None:
    run = make.Run(make.replica())
    sequence = run.submit(make.job(prompt=300, output=50, content="x"))
    for _ in range(steps):
        run.step()

    run.replica.abort(sequence)
    run.replica.abort(sequence)

    make.check(run.replica)
    assert run.replica.in_flight == 0
    assert run.replica.scheduler.cache.pool.free == 1000
    assert not run.step()
    assert run.replica.load.running == 0
    assert run.replica.stats.aborted == 1


def test_abort_in_the_middle_of_a_step_leaves_the_others_their_tokens() -> None:
    run = make.Run(make.replica())
    gone, stays = (run.submit(make.job(prompt=20)) for _ in range(2))

    ends_at = run.replica.start_step(0.0)
    run.replica.abort(gone)
    make.check(run.replica)
    assert ends_at is not None
    result = run.replica.finish_step(ends_at)

    assert result.first == [stays]
    assert result.tokens == 1


def test_gauges_are_those_of_the_last_step() -> None:
    run = make.Run(make.replica(sequences_max=1))
    for _ in range(3):
        run.submit(make.job())
    assert (run.replica.load.running, run.replica.load.waiting) == (0, 0)

    ends_at = run.replica.start_step(0.0)
    assert (run.replica.load.running, run.replica.load.waiting) == (0, 0)
    assert ends_at is not None
    run.replica.finish_step(ends_at)

    assert (run.replica.load.running, run.replica.load.waiting) == (1, 2)


def test_more_adapters_than_slots_wait_and_are_passed_by_others() -> None:
    run = make.Run(make.replica(adapters_max=1))
    a = run.submit(make.job(adapter="a"))
    b, c = (run.submit(make.job(adapter=adapter)) for adapter in ("b", "c"))
    base, second_a = run.submit(make.job()), run.submit(make.job(adapter="a"))

    run.step()

    assert list(run.replica.scheduler.running) == [a, base, second_a]
    assert run.replica.load.running_adapters == ("a",)
    assert set(run.replica.load.waiting_adapters) == {"b", "c"}
    run.to_the_end()
    assert run.finished == [a, base, second_a, b, c]


def test_a_slow_replica_takes_longer_by_its_factor() -> None:
    runs = [make.Run(make.replica()) for _ in range(2)]
    runs[1].replica.slowdown = 3.0
    for run in runs:
        run.submit(make.job(prompt=50, output=20))
        run.to_the_end()

    assert runs[1].now == pytest.approx(3 * runs[0].now)


def test_a_request_that_could_never_fit_is_refused() -> None:
    replica = make.replica(context_tokens_max=100)

    with pytest.raises(ValueError, match="101 tokens exceed the context of 100"):
        replica.submit(make.job(prompt=100, output=1), 0.0)


@pytest.mark.parametrize(("prompt", "output"), [(0, 1), (1, 0)])
def test_a_job_has_a_prompt_and_an_answer(prompt: int, output: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Job(prompt, output)


def test_a_config_in_which_decodes_do_not_fit_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match="sequences_max 65 exceeds batch_tokens_max 64"):
        make.replica(batch_tokens_max=64, sequences_max=65)


def test_a_context_that_does_not_fit_the_cache_is_refused() -> None:
    with pytest.raises(ValueError, match="context_tokens_max"):
        make.replica(kv_blocks=2, context_tokens_max=33)
