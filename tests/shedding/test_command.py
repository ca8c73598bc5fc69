"""`onehop bench shedding` through its front door, on a fleet small enough for every run of the tests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shedding import page, plan, recovery
from benchmarks.shedding.contenders import CONTENDERS
from benchmarks.sim import compare
from epp.__main__ import main
from tests.sim import make

LOADS = ("0.5", "3")
WORDS = [
    *("bench", "shedding", "--loads", ",".join(LOADS), "--knee", "20", "--replicas", "1", "--requests", "120"),
    *("--step-seconds", "5", "--processes", "1"),
]
ONE = ["--seeds", "1", "--contenders", "onehop"]
FILES = {"shedding.md", "shedding-step.png", "shedding-goodput.png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a call for two seeds wrote, and two equal calls for one; windows are as short as the fleet is small."""
    made = tmp_path_factory.mktemp("shedding")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recovery, "WINDOW_S", 2.0)
        patched.setattr(recovery, "WINDOW_REQUESTS", 20)
        calls = {"all": ["--seeds", "2"], "one": ONE, "two": ONE}
        for name, words in calls.items():
            files = ["--out", str(made / name), "--json", str(made / f"{name}.json")]
            assert main([*WORDS, *words, *files]) == 0
    return made


@pytest.fixture(scope="module")
def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "all.json").read_text())
    return found


def test_the_same_seeds_give_the_same_bytes(folder: Path) -> None:
    assert {path.name for path in (folder / "one").iterdir()} == FILES
    assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()
    for name in FILES:
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()


def test_every_contender_is_there_at_every_load_and_in_the_step(content: Mapping[str, Any]) -> None:
    assert [(r["contender"], r["load"]) for r in content["results"]] == [
        (each.name, load) for load in (0.5, 3.0, None) for each in CONTENDERS
    ]
    assert (content["benchmark"], content["knee_rps"], content["seeds"]) == ("shedding", 20.0, 2)


def test_every_request_ends_once_and_is_counted_once(content: Mapping[str, Any]) -> None:
    for result in content["results"]:
        parts, whole = result["classes"].values(), result["summary"]
        for key in ("offered", "done", "shed", "errors", "retry_after_told"):
            assert whole[key] == sum(part[key] for part in parts) == sum(row[key] for row in result["per_seed"])
        for part in (*parts, whole):
            assert part["offered"] == part["done"] + part["shed"] + part["errors"]
            assert part["shed"] == sum(part["shed_reasons"].values())
            assert part["retry_after_told"] <= part["shed"]


def test_all_get_the_same_requests(content: Mapping[str, Any]) -> None:
    for load in (0.5, 3.0, None):
        asked = [
            [(row["seed"], [part["offered"] for part in row["classes"].values()]) for row in result["per_seed"]]
            for result in content["results"]
            if result["load"] == load
        ]
        assert len(asked) == len(CONTENDERS)
        assert all(each == asked[0] for each in asked)


def test_overload_is_overload_and_its_refusals_are_told_when_to_return(content: Mapping[str, Any]) -> None:
    at = {r["contender"]: r for r in content["results"] if r["load"] is None}

    assert at["no shedding"]["summary"]["shed"] == 0
    assert at["no shedding"]["summary"]["waiting_engines_max"] > 3 * at["OneHop"]["summary"]["waiting_engines_max"]
    assert at["no shedding"]["classes"]["critical"]["goodput"] < at["OneHop"]["classes"]["critical"]["goodput"] - 0.1
    assert at["OneHop"]["summary"]["shed"] == at["OneHop"]["summary"]["retry_after_told"] > 0
    assert at["llm-d legacy"]["summary"]["shed"] > 0 == at["llm-d legacy"]["summary"]["retry_after_told"]


def test_the_timeline_has_every_request_of_the_step(content: Mapping[str, Any]) -> None:
    for result in content["results"]:
        if result["load"] is None:
            line, phases = result["step"]["timeline"], result["step"]["phases"]
            counts = {key: sum(sum(c[key]) for c in line["classes"].values()) for key in ("offered", "met", "shed")}
            asked = round(20 * sum(phase["seconds"] * phase["load"] for phase in phases))
            # The mean of two seeds, as far as the shorter goes.
            assert counts["offered"] == pytest.approx(asked, rel=0.05)
            assert counts["offered"] >= counts["met"] + counts["shed"]
            assert len(result["step"]["recovery_s"]) == 2


def test_the_table_on_top_has_the_numbers_of_the_results(folder: Path, content: Mapping[str, Any]) -> None:
    text = (folder / "all" / "shedding.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    top = {row[0]: row[1:] for row in rows[2 : 2 + len(CONTENDERS)]}

    assert list(top) == [each.name for each in CONTENDERS]
    for result in content["results"]:
        if result["load"] is not None:
            cell = top[result["contender"]][[0.5, 3.0].index(result["load"])]
            assert cell == " / ".join(f"{100 * part['goodput']:.0f}" for part in result["classes"].values())
        else:
            assert top[result["contender"]][-1] == page.recovered(result)
    offered = [int(row[2]) for row in rows if len(row) == 9 and row[1] in ("critical", "standard", "sheddable")]
    assert sum(offered) == sum(result["summary"]["offered"] for result in content["results"])


def test_the_report_says_how_to_make_it_again_but_not_where_it_lay(folder: Path) -> None:
    text = (folder / "all" / "shedding.md").read_text()

    assert "    onehop bench shedding --loads 0.5,3 --knee 20 --replicas 1 --requests 120" in text
    assert str(folder) not in text
    assert set(re.findall(r"\]\((.+?\.png)\)", text)) == FILES - {"shedding.md"}


def test_two_files_are_compared_case_by_case(folder: Path, content: Mapping[str, Any], tmp_path: Path) -> None:
    worse = json.loads(json.dumps(content))
    for result in worse["results"]:
        if result["contender"] == "OneHop":
            for row in result["per_seed"]:
                row["classes"]["critical"]["goodput"] -= 0.1
    (tmp_path / "worse.json").write_text(json.dumps(worse))
    moved = [m for m in compare.compare(content["results"], worse["results"]) if m.verdict != "same"]

    assert {(m.who, m.part, m.metric, m.verdict) for m in moved} == {
        (f"default + onehop {at}", "critical", "goodput", "worse") for at in ("at 0.5x", "at 3x", "through the step")
    }
    assert compare.run([str(folder / "all.json"), str(folder / "all.json"), "--strict"]) == 0
    assert compare.run([str(folder / "all.json"), str(tmp_path / "worse.json"), "--strict"]) == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--workload", "multi-turn", "--knee", "5"], "turns that wait for answers"),
        (["--workload", "conversation"], "ONEHOP_TRACES"),
        (["--knee", "40", "--step-seconds", "6"], "too short to see recovery in windows of 5 s"),
    ],
)
def test_mistakes_are_named(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEHOP_TRACES", raising=False)

    assert main(["bench", "shedding", *words]) == 1
    assert why in capsys.readouterr().err


def test_without_matplotlib_it_says_so_before_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)

    assert main([*WORDS, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "pip install 'onehop[bench]'" in said.err
    assert said.out == ""


def test_a_step_is_long_enough_for_its_windows_and_no_longer_than_its_trace() -> None:
    slow = plan.cases(make.job(mix=plan.MIX), [1.0], 4.0)[-1].job.workload
    short = plan.cases(make.job(mix=plan.MIX), [1.0], 40.0)[-1].job.workload

    # 100 critical and standard requests at 0.75 x 0.7 x 4 a second take 48 s.
    assert [phase.seconds for phase in slow.phases] == [240.0, 240.0, 960.0]  # type: ignore[attr-defined]
    assert [phase.seconds for phase in short.phases] == [30.0, 30.0, 120.0]  # type: ignore[attr-defined]
