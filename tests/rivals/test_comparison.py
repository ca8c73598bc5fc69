"""The comparison: its runs are commands that `bench live` takes, its tables say what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.live.arguments import parse
from benchmarks.live.plan import setups
from benchmarks.live.site import Chain
from benchmarks.rivals.command import run
from benchmarks.rivals.conditions import CONDITIONS, Got, counted
from benchmarks.rivals.facts import Fact, facts
from benchmarks.rivals.parts import ROUTINGS, Routing, hop, routing
from benchmarks.rivals.port import BESIDE, virtual
from benchmarks.rivals.report import cost_table, facts_table, routing_table
from benchmarks.sim.policies import names

OURS = ("none", "native")


def row(target: str, **more: Any) -> dict[str, Any]:
    empty = dict.fromkeys(["picker_cpu_s", "envoy_cpu_s", "picker_cpu_per_token_s", "envoy_cpu_per_token_s"])
    told = {"wiring": "w1", "case": "1 KB", "target": target, "answer_tokens": 16, "loop": "closed", "added": None}
    return {**told, **empty, "ttft": None, "goodput": None, "hit_rate": None, "statuses": {}, **more}


def test_every_part_is_a_run_that_can_be_played() -> None:
    for words in hop((), quick=False):
        plans = setups(parse(words))
        assert [plan.wiring for plan in plans] == ["w1", "duplex"]
    for case in ROUTINGS:
        if case.workload != "conversation":  # whose trace is not here
            (plan,) = setups(parse(routing(case, (), None, quick=False)))
            assert [chain.name for chain in plan.chains] == list(OURS)
            (played,) = plan.cases
            assert played.judged
            assert played.rate == pytest.approx(case.rate, rel=1e-3)
            assert len(played.shots(0)) == pytest.approx(case.requests, rel=0.2)


def test_every_target_has_a_policy_beside_it_that_there_is() -> None:
    assert set(BESIDE.values()) <= set(names())


def test_virtual_time_plays_the_same_requests() -> None:
    case = Routing("multi-turn", "llama3-8b", "h100", 2, 10.0, 1.0, 30)
    (plan,) = setups(parse(routing(case, (), None, quick=True)))

    found = virtual(case, None, requests=case.asked(quick=True))
    assert {summary["offered"] for summary in found.values()} == {len(plan.cases[0].shots(0))}
    assert found["sglang-cache-aware"]["hit_rate"] > found["round-robin"]["hit_rate"]


def test_cost_is_everything_between_client_and_server_against_an_envoy_of_the_same_wiring() -> None:
    rows = [
        row("none", envoy_cpu_s=100e-6),
        row("native", picker_cpu_s=150e-6, envoy_cpu_s=200e-6),
        row("rival", picker_cpu_s=120e-6),
        row("none", wiring="duplex", envoy_cpu_s=50e-6),
        row("native", wiring="duplex", picker_cpu_s=150e-6, envoy_cpu_s=200e-6),
    ]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in cost_table(rows).splitlines()]

    assert [line[4] for line in cells[2:]] == ["1.00", "3.50", "1.20", "1.00", "7.00"]
    assert cells[3][1] == "Envoy + OneHop, w1"


def test_routing_stands_beside_its_policy_in_virtual_time() -> None:
    rows = [row("native", ttft={"p50": 0.2}, goodput=0.5, hit_rate=0.25, statuses={"200": 3, "429": 1})]
    policies = {"default": {"goodput": 0.75, "hit_rate": 0.5, "ttft_p50": 0.3, "ttft_p99": 1.0}}
    last = [cell.strip() for cell in routing_table(rows, policies).splitlines()[-1].split("|")[1:-1]]

    assert last[1:6] == ["50.0%", "25.0%", "200.00", "-", "3 x 200, 1 x 429"]
    assert last[6:] == ["default", "75.0%", "50.0%", "300.00", "1,000.00"]


def test_a_row_of_facts_holds_what_each_target_did() -> None:
    table = facts_table([Fact("dead", "a", "503, `x|y`"), Fact("dead", "b", "200"), Fact("slow", "b", "200")])

    assert table.splitlines()[2:] == ["| dead | 503, `x\\|y` | 200 |", "| slow | - | 200 |"]


def test_answers_are_counted_by_status_and_by_whether_they_were_whole() -> None:
    answers = [Got(200, "", "", 0.1, whole=True)] * 2 + [Got(200, "", "", 0.1, whole=False), Got(0, "", "", 0.0, False)]

    assert counted(answers) == "2 x 200, 1 x 200 (cut), 1 x no answer (cut)"


async def test_facts_of_ours_with_a_dead_server_and_of_a_refusal() -> None:
    chains = [Chain("OneHop", "buffered", flags=[])]
    dead = await facts(chains, "one of 3 servers is dead")
    unknown = await facts(chains, "a model that nobody serves")

    assert [fact.answer for fact in dead] == ["30 x 200"]
    assert unknown[0].answer.startswith("404, `{")
    assert len({condition.name for condition in CONDITIONS}) == len(CONDITIONS)


def test_without_the_rivals_it_says_how_to_get_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--rival-venv", str(tmp_path)]) == 1
    assert "`make rivals` puts it there" in capsys.readouterr().err
