"""A mix of models: the semantic stage, the gate and the picker that serve, and what the answers were worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.choices.signals import Accuracy
from benchmarks.sim import mix, policies, runs
from benchmarks.sim.command import run as bench
from benchmarks.sim.fleet import FleetSpec
from benchmarks.sim.flight import Flight
from benchmarks.sim.runs import Job
from benchmarks.sim.summary import Slo
from benchmarks.sim.world import World
from benchmarks.workloads.questions import ModelMix
from tests.sim import make
from tests.workloads import outcomes

SMALL = FleetSpec.parse("llama3-8b", "llama3-70b@h100x4:1,llama3-8b@h100:1,phi3-mini@h100:1", 0)
POINT = {"policy", "quality", "cost", "ttft_mean", "e2e_mean", "goodput"}


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> ModelMix:
    return outcomes.mix(tmp_path_factory.mktemp("outcomes"))


def job(workload: ModelMix, policy: str, rate: float = 40.0, **more: object) -> Job:
    return make.job(workload, policy, fleet=SMALL, rate=rate, **more)


def flights(job: Job) -> list[Flight]:
    return World(runs.plan_of(job), runs.arrivals_of(job)).run()


def summaries(workload: ModelMix, *names: str, **more: Any) -> Mapping[str, Mapping[str, Any]]:
    return {name: runs.run(job(workload, name, **more)).summary for name in names}


@pytest.mark.parametrize("policy", [*mix.names(), "best-single/least-request", "default-0.3"])
def test_every_question_is_answered_once_by_the_model_that_was_chosen(workload: ModelMix, policy: str) -> None:
    ended = flights(job(workload, policy))

    assert make.ends(ended) == {"done": 300}
    for flight in ended:
        assert flight.model is not None
        assert flight.ask.question is not None
        answer = flight.ask.question.answers[flight.model]
        assert flight.member.startswith(f"{flight.model}@")
        assert (flight.ask.output_tokens, flight.right) == (answer.tokens, answer.right)


def test_decisions_follow_the_category_where_the_signals_are_right(
    workload: ModelMix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.sim.mix.Accuracy", lambda: Accuracy(abstains=0.0, right=1.0))
    ended = flights(job(workload, "category-rule", rate=5.0))

    taken = {(f.ask.question.category, f.model) for f in ended if f.ask.question}
    assert taken == {("math", "llama3-70b"), ("law", "llama3-8b"), ("health", "phi3-mini")}


def test_rules_differ_in_quality_and_cost_as_they_must(workload: ModelMix) -> None:
    found = summaries(workload, "best-single", "cheapest", "random-model", "category-rule", "oracle", rate=10.0)
    quality = {name: summary["quality"] for name, summary in found.items()}
    cost = {name: summary["cost"] for name, summary in found.items()}

    assert quality["oracle"] > quality["best-single"] > quality["random-model"] > quality["cheapest"]
    assert quality["category-rule"] > quality["random-model"]
    assert cost["best-single"] > cost["category-rule"] > cost["cheapest"]
    assert cost["oracle"] < cost["best-single"]
    assert found["best-single"]["models"] == {"llama3-70b": 270}


def test_quality_is_that_of_the_answers_and_what_is_late_is_not_right_in_time(workload: ModelMix) -> None:
    run_job = job(workload, "random-model", rate=20.0, requests=600, slo=Slo(tpot_s=0.015))  # too quick for the largest
    summary = runs.run(run_job).summary
    counted = flights(run_job)[60:]

    assert summary["quality"] == pytest.approx(sum(bool(f.right) for f in counted) / 540)
    assert 0 < summary["right_in_time"] < summary["quality"]
    assert summary["right_in_time"] <= summary["goodput"]


def test_a_busy_model_is_left_by_our_policy_only_and_as_far_as_the_margin_allows(workload: ModelMix) -> None:
    few = FleetSpec(SMALL.model, SMALL.kinds, sequences_max=16)
    jobs = [
        make.job(workload, policy, fleet=few, rate=20.0, requests=600, admission=policies.OWN_GATE)
        for policy in ("category-rule", "default-0", "default-0.5")
    ]
    strict, same, wide = (runs.run(each).summary for each in jobs)

    assert strict["spill_share"] == 0
    assert same["spill_share"] < wide["spill_share"] > 0.05
    assert same["shed"] > wide["shed"]
    assert strict["goodput"] < wide["goodput"]
    assert strict["right_in_time"] < wide["right_in_time"]


def test_a_run_depends_on_its_seed_alone(workload: ModelMix) -> None:
    one, same, other = (runs.run(job(workload, "default", seed=seed)) for seed in (1, 1, 2))

    assert one == same
    assert other.summary["ttft_mean"] != one.summary["ttft_mean"]


def test_what_there_is_not_is_refused(workload: ModelMix) -> None:
    for policy in ("nobody", "default-much", "default-2", "best-single/nobody"):
        with pytest.raises(ValueError, match=r"no policy|default-"):
            mix.find(policy)
    with pytest.raises(ValueError, match="no answers are known of phi4-mini"):
        mix.briefing(workload, FleetSpec.parse("phi4-mini", "h100", 1))


def test_admission_is_that_of_the_picker() -> None:
    assert [mix.own_admission(name) for name in ("default", "default-0.2", "two-hop", "oracle")] == [
        policies.OWN_GATE,
        policies.OWN_GATE,
        "llm-d-legacy",
        "none",
    ]


def test_the_command_writes_a_frontier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = outcomes.write(tmp_path), tmp_path / "out.json"
    given = ["--workload", "model-mix", "--data", str(data), "--policy", "default,two-hop", "--rate", "20"]

    assert bench([*given, "--requests", "200", "--json", str(out)]) == 0
    ours, hops = json.loads(out.read_text())
    assert ours["frontier"] == hops["frontier"]
    assert [point["policy"] for point in ours["frontier"]] == ["default", "two-hop"]
    assert all(point.keys() == POINT and None not in point.values() for point in ours["frontier"])
    assert ours["frontier"][0]["quality"] == ours["summary"]["quality"]
    assert "right in time" in capsys.readouterr().out
    assert bench([*given, "--policy", "nobody"]) == 1
    assert bench([*given, "--admission", "onehop"]) == 1  # which the Go picker has not
