"""Many runs at once: what is kept of every request, and what is said on the way."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sim import batch, progress
from benchmarks.sim.runs import Job
from tests.sim import make

OVERLOADED = make.job(admission="onehop", rate=300.0, fleet=make.fleet(1), mix=(0.2, 0.5, 0.3))


def jobs(seeds: int = 2) -> list[Job]:
    return [replace(OVERLOADED, seed=seed) for seed in range(seeds)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_requests_add_up_to_the_summary(tmp_path: Path) -> None:
    out = tmp_path / "requests.jsonl"
    found = batch.all_of(batch.run, jobs(), 1, out)

    rows = lines(out)
    assert [(row["seed"], row["number"]) for row in rows] == [(seed, n) for seed in (0, 1) for n in range(300)]
    for run in found:
        mine = [row for row in rows if row["seed"] == run.seed and row["counted"]]
        ends = Counter(row["end"] for row in mine)
        said = run.summary
        assert (len(mine), ends["done"], ends["shed"], ends["error"]) == (
            *(said["offered"], said["done"], said["shed"], said["errors"]),
        )
        assert said["shed"] > 50
        assert said["goodput"] == pytest.approx(sum(row["met"] for row in mine) / len(mine))
        assert Counter(row["reason"] for row in mine if row["end"] == "shed") == said["shed_reasons"]
        told = [row["retry_after_s"] for row in mine if row["retry_after_s"] is not None]
        assert (len(told), max(told)) == (said["retry_after_told"], said["retry_after_p100"])
        assert said["offered"] == said["done"] + said["shed"] + said["errors"]
        for name, part in run.classes.items():
            assert part["offered"] == sum(row["class"] == name for row in mine)
    assert not list(tmp_path.glob(".runs-*"))


def test_the_same_runs_give_the_same_bytes_however_many_processes(tmp_path: Path) -> None:
    one, two, packed, again = (tmp_path / name for name in ("1.jsonl", "2.jsonl", "3.jsonl.gz", "4.jsonl.gz"))
    first = batch.all_of(batch.run, jobs(), 1, one)
    second = batch.all_of(batch.run, jobs(), 2, two)
    batch.all_of(batch.run, jobs(1), 1, packed)
    batch.all_of(batch.run, jobs(1), 1, again)

    assert first == second
    assert one.read_bytes() == two.read_bytes()
    assert packed.read_bytes() == again.read_bytes()
    assert one.read_bytes().startswith(gzip.decompress(packed.read_bytes()))


def test_no_text_of_a_request_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "requests.jsonl"
    batch.all_of(batch.run, jobs(1), 1, out)

    assert all(not isinstance(value, list | dict) for row in lines(out) for value in row.values())
    assert {key for row in lines(out) for key, value in row.items() if isinstance(value, str)} <= {
        *("policy", "admission", "workload", "class", "tenant", "end", "reason", "replica"),
    }


def test_waiting_is_where_it_is() -> None:
    crowded = replace(OVERLOADED, admission="none")
    (gated, open_) = (batch.run((job, None)).summary for job in (OVERLOADED, crowded))

    assert open_["waiting_gate_max"] == 0
    assert open_["waiting_engines_max"] >= open_["waiting_engine_max"] > gated["waiting_engine_max"]
    assert gated["waiting_gate_max"] > gated["waiting_gate_mean"] > 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_of_requests_that_ends_full(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    batch.all_of(batch.run, jobs(), 1)

    last = terminal.getvalue().split("\r")[-1]
    assert "100%" in last
    assert "600/600" in last


def test_a_pipe_gets_a_line_a_run_and_never_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    batch.all_of(batch.run, jobs(), 1)

    said = capsys.readouterr().err
    assert said.splitlines() == [f"{n} of 2: {batch.label(job)}" for n, job in enumerate(jobs(), 1)]
    assert "\r" not in said


def test_processes_count_together() -> None:
    terminal = Terminal()
    with progress.shown(2, lambda: 600, terminal) as (counter, told):
        assert counter is not None
        for _ in range(300):
            counter.one()
        counter.flush()
        told("half")

    assert counter.shared.value == 300
    assert "300/600" in terminal.getvalue().split("\r")[-1]
