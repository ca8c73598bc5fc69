"""What is asked, and when."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from statistics import fmean

import pytest

from benchmarks.live.arguments import parse
from benchmarks.live.body import Writer
from benchmarks.live.cases import Pace, answer_case, deal, prompt_case, workload_case
from benchmarks.live.measure import Hold
from benchmarks.live.messages import Plan
from benchmarks.live.plan import rounds, setups
from benchmarks.workloads.catalogue import find
from benchmarks.workloads.generated import Constant

KB = 1024


def test_every_target_of_a_round_gets_the_same_requests_at_the_same_times() -> None:
    case = prompt_case(32 * KB, Pace(2.0), instant=False)

    assert case.shots(3) == case.shots(3)
    assert case.shots(3) != case.shots(4)
    assert sorted(shot.at for shot in case.shots(3)) == [shot.at for shot in case.shots(3)]


def test_a_rate_gives_its_number_of_requests() -> None:
    shots = prompt_case(1 * KB, Pace(10.0, rate=30.0), instant=False).shots(0)
    bounded = prompt_case(1 * KB, Pace(10.0, rate=30.0, requests_max=7), instant=False).shots(0)

    assert len(shots) == 300
    assert len(bounded) == 7


def test_at_a_time_factor_the_whole_workload_goes_as_much_faster_gaps_between_turns_too() -> None:
    workload = find("multi-turn", None)
    shots = workload_case(workload, Pace(40.0, rate=2.0)).shots(0)
    faster = workload_case(workload, Pace(20.0, rate=4.0), time_factor=0.5).shots(0)

    assert len(shots) == len(faster) > 20
    assert any(shot.gap_s > 0 for shot in shots)
    assert [(s.at / 2, s.gap_s / 2, s.blocks) for s in shots] == [(s.at, s.gap_s, s.blocks) for s in faster]


def test_constant_arrivals_are_at_equal_distances() -> None:
    times = Constant()(4.0, Random(1))
    found = [next(times) for _ in range(9)]

    assert [b - a for a, b in pairwise(found)] == pytest.approx([0.25] * 8)
    assert 0 <= found[0] < 0.25


@pytest.mark.parametrize("size", [1 * KB, 32 * KB, 220 * KB, 400 * KB])
def test_a_prompt_has_its_size_and_is_nobody_elses(size: int) -> None:
    case = prompt_case(size, Pace(1.0), instant=False)
    first, second = case.shots(0)[:2]
    plan = Plan(("127.0.0.1", 1), "/", "h", "m", [], 1.0, block_tokens=case.block_tokens)
    other = Plan(("127.0.0.1", 1), "/", "h", "m", [], 1.0, block_tokens=case.block_tokens, part=1)
    texts = [
        Writer(plan).request(first),
        Writer(plan).request(second),
        Writer(other).request(first),
        Writer(plan).request(first, copy=1),
    ]
    heads, bodies = zip(*(text.split(b"\r\n\r\n", 1) for text in texts), strict=True)

    assert len({body[:200] for body in bodies}) == 4  # no prefix is shared
    for head, body in zip(heads, bodies, strict=True):
        assert size < len(body) < size + 200
        assert b"content-length: %d" % len(body) in head


def test_answers_have_their_length() -> None:
    shots = answer_case(10_000, Pace(5.0), token_s=0.002, pause_ms=None).shots(0)

    assert {shot.answer_tokens for shot in shots} == {10_000}
    assert len(shots) >= 2


def test_a_closed_loop_is_long_enough_for_two_answers() -> None:
    case = answer_case(1_000, Pace(1.0, closed=True), token_s=0.004, pause_ms=4.0)

    assert case.connections
    assert case.seconds >= 2 * 1_000 * 0.004


def test_a_workload_keeps_its_lengths_and_its_sessions() -> None:
    workload = find("multi-turn", None)
    case = workload_case(workload, Pace(60.0, rate=5.0))
    shots, arrivals = case.shots(1), workload.arrivals(5.0, Random("arrivals 1"), 300)

    assert [(s.at, s.prompt_tokens, s.answer_tokens, s.after) for s in shots] == [
        (a.at, a.ask.prompt_tokens, a.ask.output_tokens, a.after) for a in arrivals
    ]
    assert any(shot.after is not None for shot in shots)


def test_several_generators_share_the_requests_and_keep_sessions_together() -> None:
    shots = workload_case(find("multi-turn", None), Pace(60.0, rate=5.0)).shots(1)
    dealt = deal(shots, 3)

    assert sorted((s.at, s.blocks) for hand in dealt for s in hand) == sorted((s.at, s.blocks) for s in shots)
    assert max(map(len, dealt)) < 2 * fmean(map(len, dealt))
    before = {shot.blocks: shots[shot.after].blocks for shot in shots if shot.after is not None}
    for hand in dealt:
        for shot in hand:
            assert before.get(shot.blocks) == (None if shot.after is None else hand[shot.after].blocks)


def test_a_workload_of_dying_replicas_is_refused() -> None:
    with pytest.raises(ValueError, match="only `bench sim`"):
        workload_case(find("failures", None), Pace(1.0))


def test_the_default_run_has_every_size_and_length_with_and_without_a_picker() -> None:
    planned = setups(parse([]))
    names = [case.name for setup in planned for case in setup.cases]

    assert names == [
        *(f"{n} KB" for n in (1, 32, 220, 400)),
        *(f"answer of {n} tokens" for n in ("10", "100", "1,000", "10,000")),
    ]
    for setup in planned:
        assert [chain.name for chain in setup.chains] == ["none", "native"]


def test_both_wirings_and_transports_and_another_picker_stand_side_by_side() -> None:
    words = ["--wiring=w1,duplex", "--transport=native,grpc", "--picker-address=127.0.0.1:9002", "--prompts=1KB"]
    planned = setups(parse(words))

    assert [setup.wiring for setup in planned] == ["w1", "duplex"]
    assert [chain.wiring for chain in planned[1].chains] == ["duplex"] * 4
    assert [chain.name for chain in planned[0].chains] == ["none", "native", "grpc", "127.0.0.1:9002"]


def test_full_speed_to_servers_that_cost_nothing() -> None:
    given = parse(["--closed", "--upstream=instant", "--quick"])
    (setup,) = setups(given)

    assert [case.name for case in setup.cases] == [
        "1 KB, 16 connections",
        "1 KB, 1 connection",
        "answer of 100 tokens, 16 connections",
    ]
    assert setup.holds == [Hold(1), Hold(100)]
    assert rounds(given) == 1


def test_the_whole_of_it_has_every_size_length_and_number() -> None:
    words = ["--closed", "--upstream=instant", "--wiring=w1,duplex", "--transport=native,grpc"]
    first, second = setups(parse(words))

    assert [case.name.rpartition(", ")[0] for case in first.cases] == [
        *("1 KB", "1 KB", "32 KB", "220 KB", "1 MB"),
        *(f"answer of {tokens} tokens" for tokens in ("10", "100", "1,000", "10,000")),
    ]
    assert first.holds == second.holds == [Hold(1), Hold(100), Hold(5_000), Hold(1, 1 << 20), Hold(100, 1 << 20)]
