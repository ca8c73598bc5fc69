"""Generators: the rate asked for, the pattern promised, and the same content at any rate."""

from __future__ import annotations

import pickle
from pathlib import Path
from random import Random
from statistics import fmean

import pytest

from benchmarks.workloads.catalogue import GENERATORS, NAMES, find
from benchmarks.workloads.generated import Groups, Lengths, SquareWave
from benchmarks.workloads.servegen import busiest_day, servegen


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_every_generator_keeps_to_its_rate_and_its_limit(name: str) -> None:
    workload = find(name, None)
    arrivals = workload.arrivals(20.0, Random(1), 1_200)
    times = [a.at for a in arrivals]

    assert times == sorted(times)
    assert len(arrivals) == pytest.approx(1_200, rel=0.15)
    assert times[-1] == pytest.approx(60.0, rel=0.4)
    assert all(len(a.ask.blocks) == -(-a.ask.prompt_tokens // workload.block_tokens) for a in arrivals)
    full = [len(a.ask.hashes) - a.ask.prompt_tokens // workload.block_tokens for a in arrivals]
    assert min(full) >= 0


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_what_is_asked_does_not_depend_on_the_rate_and_travels_to_other_processes(name: str) -> None:
    workload = find(name, None)
    again = pickle.loads(pickle.dumps(workload))
    one, other = workload.arrivals(20.0, Random(1), 200), again.arrivals(20.0, Random(1), 200)

    assert workload.identity == again.identity
    assert [(a.at, a.ask, a.after) for a in one] == [(a.at, a.ask, a.after) for a in other]
    if name != "multi-turn":  # which sessions fall into the run is a matter of its length
        assert [a.ask for a in workload.arrivals(40.0, Random(1), 200)] == [a.ask for a in one]


def test_a_generator_makes_as_many_as_are_asked_for() -> None:
    workload = find("chat-short", None)

    assert len(workload.arrivals(20.0, Random(1), 13_000)) == 13_000 > len(workload.arrivals(20.0, Random(1)))


def test_identities_differ() -> None:
    assert len({find(name, None).identity for name in GENERATORS}) == len(GENERATORS)


def test_a_burst_comes_at_once() -> None:
    times = Groups(256)(10.0, Random(2))
    first = [next(times) for _ in range(512)]

    assert (len(set(first[:256])), len(set(first))) == (1, 2)


def test_a_square_wave_has_both_rates_and_the_mean_asked_for() -> None:
    wave = SquareWave(0.5, 3.0, 60.0, 0.2)(10.0, Random(3))
    times = [t for t, _ in zip(wave, range(20_000), strict=False)]
    high = sum(t % 60 >= 48 for t in times) / (times[-1] * 0.2)
    low = sum(t % 60 < 48 for t in times) / (times[-1] * 0.8)

    assert len(times) / times[-1] == pytest.approx(10.0, rel=0.05)
    assert high / low == pytest.approx(6.0, rel=0.1)


def test_lengths_have_their_mean() -> None:
    rng, lengths = Random(4), Lengths(1_000, 0.8, most=100_000)

    assert fmean(lengths.draw(rng) for _ in range(20_000)) == pytest.approx(1_000, rel=0.05)


def test_the_day_with_the_most_requests_shapes_the_rate(tmp_path: Path) -> None:
    day = 86_400.0
    assert busiest_day({0.0: 5.0, day: 1.0, day + 600: 9.0}) == ([day, day + 600], [1.0, 9.0])
    rates, sample = tmp_path / "rates.csv", tmp_path / "sample.csv"
    rates.write_text("window_start_s,client,rate_rps,iat_cv,pattern\n0,0,1,1,x\n600,0,2,1,x\n600,1,1,1,x\n")
    sample.write_text("t_s,client,input_tokens,output_tokens\n0,7,30,3\n1,8,40,4\n")
    arrivals = servegen("servegen", rates, sample).arrivals(10.0, Random(5), 4_000)

    assert arrivals[-1].at == pytest.approx(400.0, rel=0.01)
    assert sum(a.at >= 200 for a in arrivals) / 4_000 == pytest.approx(0.75, abs=0.03)
    assert {a.ask.tenant for a in arrivals} == {"client-7", "client-8"}


def test_a_trace_needs_a_folder_and_says_so() -> None:
    with pytest.raises(ValueError, match="ONEHOP_TRACES"):
        find("conversation", None)
    assert set(GENERATORS) < set(NAMES)
