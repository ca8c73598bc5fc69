"""`onehop bench` through its front door."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from epp.__main__ import main

TRACE = "t_s,input_tokens,output_tokens\n" + "".join(
    f"{n * 0.4:.1f},{500 + 40 * (n % 9)},{5 + n % 7}\n" for n in range(80)
)


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "held-out.csv"
    path.write_text(TRACE)
    return path


def test_sim_writes_the_same_bytes_for_the_same_seed(trace: Path, tmp_path: Path) -> None:
    said = []
    for n in range(2):
        out = tmp_path / f"{n}.json"
        words = ["--trace", str(trace), "--policy", "default", "--load", "0.8", "--replicas", "1", "--seeds", "2"]
        assert main(["bench", "sim", *words, "--processes", "1", "--json", str(out)]) == 0
        said.append(out.read_bytes())

    assert said[0] == said[1]
    found = json.loads(said[0])
    assert (found["policy"], found["workload"], found["load"], found["seeds"]) == ("default", "held-out", 0.8, 2)
    assert found["rate"] == pytest.approx(0.8 * found["knee_rps"])


def test_several_policies_are_shown_side_by_side(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all.json"
    words = ["--trace", str(trace), "--policy", "random,p2c", "--policy", "lmetric", "--rate", "5"]
    assert main(["bench", "sim", *words, "--processes", "1", "--json", str(out)]) == 0

    assert [result["policy"] for result in json.loads(out.read_text())] == ["random", "p2c", "lmetric"]
    shown = capsys.readouterr().out
    assert "| random " in shown
    assert "| lmetric " in shown


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--workload", "rag", "--policy", "best"], "there is no policy 'best'"),
        (["--workload", "rag", "--gpu", "b9000"], "no time constants for gpu 'b9000'"),
        (["--workload", "conversation"], "ONEHOP_TRACES"),
        (["--workload", "model-mix"], "ONEHOP_ROUTING"),
        (["--workload", "rag", "--gpu", "gpt@h100:2"], "no time constants for model 'gpt'"),
        (["--workload", "rag", "--policy", "lmetric", "--admission", "onehop"], "not of lmetric"),
    ],
)
def test_mistakes_are_named(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("ONEHOP_TRACES", "ONEHOP_ROUTING"):
        monkeypatch.delenv(folder, raising=False)
    assert main(["bench", "sim", "--rate", "1", *words]) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(("workload", "asked"), [("mixed-priorities", (0.2, 0.5, 0.3)), ("mixed-tenants", (0, 1, 0))])
def test_a_workload_may_bring_its_classes(workload: str, asked: tuple[float, ...], tmp_path: Path) -> None:
    out = tmp_path / "classes.json"
    words = ["--workload", workload, "--policy", "least-request", "--rate", "50", "--requests", "400"]
    assert main(["bench", "sim", *words, "--replicas", "2", "--json", str(out)]) == 0

    found = json.loads(out.read_text())
    counts = [part["offered"] for part in found["classes"].values()]
    assert found["mix"] == list(asked)
    assert [count / 360 for count in counts] == pytest.approx(asked, abs=0.08)


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "nonsense"]) == 2
    assert "sim" in capsys.readouterr().err
    assert main(["bench", "--help"]) == 0
