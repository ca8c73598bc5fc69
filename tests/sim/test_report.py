"""What is written of results, and what is said to have moved from one to another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.sim import compare, runs
from benchmarks.sim.fleet import Isolated
from benchmarks.sim.flight import Flight
from benchmarks.sim.report import report
from benchmarks.sim.statistics import bootstrap, interval, jain
from benchmarks.sim.summary import Slo, measured, summarize
from benchmarks.sim.table import table
from benchmarks.workloads.workload import Ask
from tests.sim import make

SUMMARY = {
    *("goodput", "ttft_mean", "ttft_p50", "ttft_p95", "ttft_p99", "tpot_p99", "hit_rate"),
    *("offered", "shed", "errors", "token_goodput"),
}
TOP = {
    *("policy", "workload", "slo", "fleet", "rate", "load", "knee_rps", "seeds", "summary", "classes", "intervals"),
}


def flight(
    ttft: float | None, tpot: float, end: str = "done", tokens: int = 1_000, tenant: str | None = None
) -> Flight:
    ended = None if ttft is None else 10.0 + ttft + tpot * 10
    first = None if ttft is None else 10.0 + ttft
    ask = Ask(tokens, 11, (1,), tenant=tenant)
    return Flight(0, ask, "standard", 10.0, end=end, first_token=first, ended=ended)  # type: ignore[arg-type]


def summary(*flights: Flight) -> dict[str, Any]:
    return summarize(flights, Slo(), lambda tokens: tokens / 1_000)


def test_goodput_counts_of_those_offered_who_met_both_objectives() -> None:
    found = summary(
        flight(3.9, 0.09),  # 2 s + 2 x 1 s
        flight(4.1, 0.09),
        flight(0.1, 0.11),
        flight(None, 0.0, end="shed"),
        flight(0.1, 0.01, end="error"),
        flight(21.9, 0.0, tokens=10_000),
    )

    assert found["goodput"] == pytest.approx(2 / 6)
    assert found["token_goodput"] == pytest.approx((1_011 + 10_011) / (5 * 1_011 + 10_011))
    assert (found["offered"], found["done"], found["shed"], found["errors"]) == (6, 4, 1, 1)
    assert found["ttft_mean"] == pytest.approx((3.9 + 4.1 + 0.1 + 0.1 + 21.9) / 5)


def test_a_single_token_has_no_time_between_tokens() -> None:
    ask = Ask(5, 1, (1,))
    one = Flight(0, ask, "standard", 0.0, end="done", first_token=1.0, ended=1.0)

    assert one.tpot_s == 0.0


def test_nothing_measured_gives_no_numbers() -> None:
    assert summary()["goodput"] is None
    assert summary(flight(None, 0.0, end="shed"))["ttft_p99"] is None


def test_the_first_tenth_of_the_arrivals_is_warm_up() -> None:
    flights = [replace(flight(1.0, 0.0), number=n) for n in range(20)]

    assert [f.number for f in measured(flights, 0.1)] == list(range(2, 20))
    assert len(measured(flights, 0.0)) == 20


def test_fairness_is_jains_index_over_tenants() -> None:
    found = summary(flight(1, 0, tenant="a"), flight(1, 0, tenant="a"), flight(9, 0, tenant="b"))

    assert found["fairness"] == pytest.approx(0.5)
    assert jain([2, 2, 2]) == pytest.approx(1.0)
    assert jain([0, 0]) is None


def test_the_objective_grows_with_the_isolated_prefill_of_the_fastest_kind() -> None:
    mixed, plain = Isolated(make.fleet(gpu="a100:1,h100:1")), Isolated(make.fleet(1))

    assert mixed.seconds(8_192) == plain.seconds(8_192) == pytest.approx(0.223, rel=0.01)
    assert plain.seconds(80_000) > 10 * plain.seconds(8_000)


def test_intervals_are_students() -> None:
    # Mean 2, standard deviation 1, t = 4.303 for two degrees of freedom.
    assert interval([1.0, 2.0, 3.0]) == pytest.approx([2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5])
    assert interval([1.0]) is None


def test_a_bootstrap_interval_is_efrons() -> None:
    # As scipy.stats.bootstrap(..., method="BCa", n_resamples=100_000) has them, with seed 1.
    assert bootstrap([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx([1.8, 4.2], abs=0.02)
    assert bootstrap([0.8, 0.81, 0.79, 0.9, 0.7]) == pytest.approx([0.74, 0.86], abs=0.003)
    assert bootstrap([1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 14.0]) == pytest.approx([2.25, 8.5625], abs=0.15)
    assert bootstrap([1.0]) is None
    assert bootstrap([2.0, 2.0]) == [2.0, 2.0]
    assert bootstrap([1.0, 2.0, 4.0]) == bootstrap([1.0, 2.0, 4.0])


def results(policy: str, seeds: int = 4, **more: object) -> dict[str, Any]:
    jobs = [make.job(policy=policy, seed=seed, requests=120, **more) for seed in range(seeds)]
    return report(jobs[0], 1.0, 40.0, [runs.run(job) for job in jobs])


def test_the_json_has_what_the_interface_promises() -> None:
    found = results("least-request", seeds=2, mix=(0.2, 0.5, 0.3))
    again = json.loads(json.dumps(found))

    assert again.keys() >= TOP
    assert again["slo"] == {"ttft_s": 2.0, "ttft_prefill_factor": 2.0, "tpot_s": 0.1}
    assert again["summary"].keys() >= SUMMARY
    assert list(again["classes"]) == ["critical", "standard", "sheddable"]
    assert all(part.keys() >= SUMMARY for part in again["classes"].values())
    assert again["summary"]["offered"] == 2 * 108 == sum(part["offered"] for part in again["classes"].values())
    assert {"goodput", "ttft_mean", "ttft_p99", "tpot_p99", "hit_rate"} <= again["intervals"].keys()
    assert list(again["bootstrap"]) == ["summary", "critical", "standard", "sheddable"]
    assert all(part.keys() == again["intervals"].keys() for part in again["bootstrap"].values())
    assert [row["seed"] for row in again["per_seed"]] == [0, 1]
    assert again["fleet"] == {"model": "llama3-8b", "replicas": 3, "gpus": {"h100": 3}}


def test_a_class_that_nobody_asked_for_has_no_numbers() -> None:
    found = results("random", seeds=2)

    assert found["classes"]["critical"].keys() >= SUMMARY
    assert (found["classes"]["critical"]["offered"], found["classes"]["critical"]["goodput"]) == (0, None)
    assert found["classes"]["standard"]["goodput"] == found["summary"]["goodput"]


def test_the_table_has_a_row_for_every_policy_and_class() -> None:
    lines = table([results("random", seeds=2, mix=(0.5, 0.5, 0.0)), results("p2c", seeds=2)]).splitlines()

    assert [line.split("|")[1].strip() for line in lines[2:]] == ["random", "- critical", "- standard", "p2c"]
    assert len({len(line) for line in lines}) == 1


def planted(shift: float, noise: float, seed: int = 0) -> dict[str, Any]:
    """Results of which only the mean TTFT says anything."""
    rng = Random(seed)
    rows = [
        {"seed": n, "ttft_mean": 1.0 + n + shift + rng.gauss(0, noise), "classes": {"standard": {}}} for n in range(8)
    ]
    return {"policy": "p", "admission": "none", "per_seed": rows}


def test_a_shift_beyond_noise_is_found_seed_by_seed_however_far_seeds_are_apart() -> None:
    (slower,) = compare.compare([planted(0.0, 0.001)], [planted(0.01, 0.001, seed=1)])
    (faster,) = compare.compare([planted(0.01, 0.001)], [planted(0.0, 0.001, seed=1)])

    assert (slower.metric, slower.verdict, faster.verdict) == ("ttft_mean", "worse", "better")


def test_noise_is_no_shift() -> None:
    (moved,) = compare.compare([planted(0.0, 0.1)], [planted(0.01, 0.1, seed=1)])
    (same,) = compare.compare([planted(0.0, 0.1)], [planted(0.0, 0.1)])

    assert (moved.verdict, same.verdict) == ("noise", "same")


def test_results_of_different_loads_are_not_compared() -> None:
    with pytest.raises(ValueError, match="differ in rate"):
        compare.compare([{**planted(0, 0), "rate": 1.0}], [{**planted(0, 0), "rate": 2.0}])


def test_results_of_several_loads_are_compared_load_by_load() -> None:
    def at(load: float, shift: float) -> dict[str, Any]:
        return {**planted(shift, 0.001, seed=round(shift)), "load": load, "rate": 10 * load}

    moved = compare.compare([at(1.0, 0.0), at(2.0, 0.0)], [at(2.0, 1.0), at(1.0, 0.0)])

    assert [(each.who, each.verdict) for each in moved] == [("p at 2x", "worse"), ("p at 1x", "same")]
    assert "| p at 2x | all ttft_mean |" in compare.table(moved)
    assert "of the 1 that differ" in compare.table(moved)


def test_compare_reads_two_files_and_can_be_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "a.json", tmp_path / "b.json"
    good.write_text(json.dumps(results("default", rate=120.0)))
    bad.write_text(json.dumps(results("round-robin", rate=120.0)))

    assert compare.run([str(good), str(bad)]) == 0
    assert "| default -> round-robin | all hit_rate |" in capsys.readouterr().out
    assert compare.run([str(good), str(bad), "--strict", "--json", str(tmp_path / "moved.json")]) == 1
    assert compare.run([str(good), str(good), "--strict"]) == 0
    assert {row["verdict"] for row in json.loads((tmp_path / "moved.json").read_text())} >= {"worse"}
    bad.write_text("[1]")
    assert compare.run([str(good), str(bad)]) == 2
