"""Pictures from small files: that there is one of each kind, that it shows what the file says, and what is refused."""

from __future__ import annotations

import json
import sys
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.plots import command, frontier, rows, style
from benchmarks.sim.report import report
from benchmarks.sim.runs import Run
from epp.__main__ import main
from tests.sim import make

MODELS = [
    {"policy": name, "quality": q, "cost": c, "ttft_mean": s / 10, "e2e_mean": s, "goodput": 0.9}
    for name, q, c, s in [
        ("cheapest", 0.4, 0.02, 2.0),
        ("random", 0.5, 0.6, 9.0),
        ("onehop", 0.7, 0.7, 7.0),
        ("best", 0.75, 2.0, 24.0),
        ("oracle", 0.9, 0.5, 6.0),
    ]
]


def admission(policy: str) -> str:
    return "onehop" if policy == "default" else "none"


def result(policy: str, load: float, goodput: float) -> dict[str, Any]:
    part = dict.fromkeys(("token_goodput", "ttft_mean", "ttft_p99", "tpot_p99"), 0.5)
    summaries = [{"goodput": goodput + 0.01 * n, "hit_rate": goodput / 2, "offered": 100, **part} for n in range(3)]
    return report(
        make.job(policy=policy, admission=admission(policy), rate=10 * load),
        load,
        10.0,
        [Run(n, s, {}) for n, s in enumerate(summaries)],
    )


def request(number: int, policy: str = "default", seed: int = 0) -> dict[str, Any]:
    """Every tenth was refused."""
    refused = number % 10 == 0
    return {
        **{
            "policy": policy,
            "admission": admission(policy),
            "workload": "chat",
            "rate": 20.0,
            "seed": seed,
            "number": number,
        },
        **{"arrived": number / 20, "counted": number >= 20, "met": not refused, "class": "standard"},
        **{"ttft": None if refused else 0.1 + number / 1e3, "e2e": None if refused else 2.0 + number / 1e3},
    }


def wrote(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def blue(path: Path) -> int:
    """How many points of a picture have our own colour."""
    with Image.open(path) as image:
        assert image.size[0] > 400
        off = np.abs(np.asarray(image.convert("RGB")).astype(int) - (0x00, 0x72, 0xB2)).sum(axis=2)
        return int((off < 24).sum())


def test_there_is_a_picture_of_every_kind_of_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps(request(n, policy)) for policy in ("default", "random") for n in range(200)]
    (tmp_path / "requests.jsonl").write_text("\n".join(lines) + "\n")
    several = [result(policy, load, 1 - load / 4) for policy in ("default", "random") for load in (1.0, 2.0)]
    files = [
        wrote(tmp_path / "loads.json", several),
        wrote(tmp_path / "models.json", MODELS),
        str(tmp_path / "requests.jsonl"),
    ]

    assert main(["bench", "plot", *files, "--out", str(tmp_path / "out")]) == 0
    drawn = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.name for path in drawn} == {
        *("chat-goodput.png", "chat-hits.png", "frontier.png", "chat-20-latency.png", "chat-20-timeline.png"),
    }
    assert all(blue(path) > 100 for path in drawn)
    assert all(path.stat().st_size < 120_000 for path in drawn)


def test_results_of_several_files_share_a_picture_and_one_load_gives_bars(tmp_path: Path) -> None:
    one, two = tmp_path / "1.json", tmp_path / "2.json"
    wrote(one, result("default", 1.0, 0.9))
    wrote(two, result("default", 2.0, 0.5))

    assert [path.name for path in command.draw([one], tmp_path)] == ["chat-hits.png"]
    assert [path.name for path in command.draw([one, two], tmp_path)] == ["chat-goodput.png", "chat-hits.png"]


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        frontier.frontier(MODELS, tmp_path / name)

    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_nobody_beats_those_on_the_frontier() -> None:
    assert [row["policy"] for row in frontier.unbeaten(MODELS, "cost")] == ["cheapest", "oracle"]
    assert [row["policy"] for row in frontier.unbeaten(MODELS[:4], "e2e_mean")] == ["cheapest", "onehop", "best"]
    assert [row["policy"] for row in frontier.unbeaten(MODELS[:4], "cost")] == ["cheapest", "random", "onehop", "best"]


@pytest.mark.parametrize(
    ("heights", "placed"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.0, 0.0, 0.05], [0.0, 0.1, 0.2]),
        ([0.98, 1.0, 1.0], [0.8, 0.9, 1.0]),
        ([0.5, 0.52, 0.58, 0.9], [0.433, 0.533, 0.633, 0.9]),
    ],
)
def test_names_are_moved_apart_no_farther_than_need_be(heights: list[float], placed: list[float]) -> None:
    assert style.spread(heights, 0.1) == pytest.approx(placed, abs=0.001)


def test_only_ours_with_its_gate_is_blue() -> None:
    found = style.colours(["default", "default + onehop", "random"])

    assert [name for name, colour in found.items() if colour == style.OURS] == ["default + onehop"]
    assert len(set(found.values())) == 3


def test_the_requests_of_each_policy_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(json.dumps(request(n, p, n % 2)) for p in ("default", "random") for n in range(30)))
    ((where, runs),) = rows.read(path).items()

    assert where == ("chat", 20.0)
    assert list(runs) == ["default + onehop", "random"]
    assert sum(runs["default + onehop"].counted) == 10
    assert sum(map(isnan, runs["default + onehop"].ttft)) == 3


@pytest.mark.parametrize("content", ["{}", "[1]", '{"a": ', '{"arrived": 1}\n{"arrived": 2}', '[{"policy": "p"}]'])
def test_a_file_that_says_nothing_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "what.json"
    path.write_text(content)

    assert main(["bench", "plot", str(path), "--out", str(tmp_path / "out")]) == 1
    assert str(path) in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "plot", str(tmp_path / "none.json"), "--out", str(tmp_path)]) == 1
    assert "none.json" in capsys.readouterr().err


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert main(["bench", "plot", wrote(tmp_path / "m.json", MODELS), "--out", str(tmp_path)]) == 1
    assert "pip install 'onehop[bench]'" in capsys.readouterr().err
