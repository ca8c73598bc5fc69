"""`onehop bench live` through its front door: real processes, bounded to seconds."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.live.fleet import FIRST_HOST
from benchmarks.live.upstream import MODEL
from epp.__main__ import main
from epp.cli.stack import free_ports

PATIENCE_S = 60.0


def played(tmp_path: Path, *words: str) -> dict[str, Any]:
    out = tmp_path / "live.json"
    assert main(["bench", "live", *words, "--json", str(out)]) == 0
    told: dict[str, Any] = json.loads(out.read_text())
    return told


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that answers at once."""
    (port,) = free_ports(1)
    with child("benchmarks.live.upstream", f"127.0.0.1:{port}") as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}"


class child:  # noqa: N801  # reads as a word in `with`
    """`python -m` something, ended afterwards."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def __enter__(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", *self._words]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=PATIENCE_S)


def listening(port: int) -> None:
    """Until somebody answers there."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            assert time.monotonic() < ends, f"nobody listens at {port}"
            time.sleep(0.05)


def test_a_hop_is_measured_against_none_and_against_another_picker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replicas, grpc, health, metrics, admin = free_ports(5)
    rows = [{"name": f"pod-{n}", "address": f"127.0.0.{FIRST_HOST + n}", "port": replicas} for n in range(2)]
    (tmp_path / "endpoints.json").write_text(json.dumps({"endpoints": rows}))
    flags = [f"--discovery-file={tmp_path / 'endpoints.json'}", "--bind-address=127.0.0.1", "--secure-serving=false"]
    ports = [f"--grpc-port={grpc}", f"--grpc-health-port={health}", f"--metrics-port={metrics}"]
    with child("epp", "serve", *flags, *ports, f"--admin-address=127.0.0.1:{admin}", "-v=1") as other:
        theirs = f"127.0.0.1:{grpc}"
        listening(grpc)
        words = [
            "--prompts=1KB",
            "--rate=30",
            "--seconds=1",
            "--rounds=2",
            "--replicas=2",
            f"--replica-port={replicas}",
        ]
        told = played(tmp_path, *words, f"--picker-address={theirs}", f"--picker-pid={other.pid}", "--raw")

    by_target = {row["target"]: row for row in told["rows"]}
    assert list(by_target) == ["none", "native", theirs]
    for row in by_target.values():
        assert row["statuses"] == {"200": 60}  # nothing lost, nothing refused
        assert row["tokens"] == 60 * 16
        assert row["envoy_cpu_s"] > 0
        assert 0 < row["ttft"]["p50"] <= row["e2e"]["p50"]
    assert by_target["none"]["picker_cpu_s"] is None
    assert by_target["none"]["messages_per_request"] == 0
    for name in ("native", theirs):
        row = by_target[name]
        assert row["messages_per_request"] == pytest.approx(3, abs=0.5)  # headers, body, response headers
        assert row["picker_cpu_s"] > 0
        assert row["picker_rss_bytes"] > 10 << 20
        # Ratio within the run: two more hops between processes are not free.
        assert row["envoy_cpu_s"] > by_target["none"]["envoy_cpu_s"]
        assert row["added"]["e2e_p50"] is not None
    assert len(told["requests"]) == 3 * 60
    sent = [sorted(r["at_s"] for r in told["requests"] if r["target"] == name) for name in by_target]
    assert sent[0] == sent[1] == sent[2]
    shown = capsys.readouterr().out
    assert "| w1     | 1 KB | native " in shown
    assert "The load generator used at most" in shown


def test_every_token_of_a_long_answer_is_seen_in_full_duplex(tmp_path: Path) -> None:
    words = ["--answers=200", "--wiring=duplex", "--rate=2", "--seconds=1", "--rounds=1", "--upstream=instant"]
    told = played(tmp_path, *words, "--streams=0", "--replicas=2")

    none, native = told["rows"]
    for row in (none, native):
        assert row["statuses"] == {"200": 2}
        assert row["tokens"] == 400
        assert row["tpot"]["p50"] > 0
    assert native["messages_per_request"] > 0.5 * 200 / max(1.0, native["tokens_per_read"])


def test_any_url_and_a_workload_of_sessions(tmp_path: Path, server: str) -> None:
    words = ["--url", server, "--url", f"{server}/v1/", "--model", MODEL, "--workload=multi-turn", "--rate=40"]
    more = ["--seconds=1", "--rounds=1", "--clients=2", "--header=authorization:Bearer secret", "--header=x-answer:4/1"]
    told = played(tmp_path, *words, *more)

    first, second = told["rows"]
    assert first["offered"] == second["offered"] > 30
    for row in (first, second):
        assert row["statuses"] == {"200": row["offered"]}
        assert row["tokens"] == 4 * row["offered"]
    assert second["added"] is not None
    assert "secret" not in json.dumps(told)


def test_a_stream_that_never_said_it_was_over_is_no_success(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--url", server, "--model", MODEL, "--prompts=1KB", "--rate=5", "--seconds=1", "--rounds=1"]

    assert main(["bench", "live", *words]) == 1  # it answers one JSON, where a stream was asked for
    assert "5 x cut short of 5" in capsys.readouterr().out


def test_nobody_there_is_an_error_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    (nobody,) = free_ports(1)
    words = ["--url", f"http://127.0.0.1:{nobody}", "--model=m", "--prompts=1KB", "--seconds=0.2", "--rounds=1"]

    assert main(["bench", "live", *words]) == 1
    assert "no connection" in capsys.readouterr().out


def test_a_picker_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    (nobody,) = free_ports(1)

    assert main(["bench", "live", "--quick", "--replicas=1", f"--picker-address=127.0.0.1:{nobody}"]) == 1
    assert f"there is no picker at 127.0.0.1:{nobody}" in capsys.readouterr().err


def test_ctrl_c_tells_what_there_is_and_leaves_nobody(tmp_path: Path) -> None:
    out = tmp_path / "live.json"
    words = ["--prompts=1KB", "--seconds=1", "--rounds=500", "--replicas=2", "--json", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "epp", "bench", "live", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ends = time.monotonic() + PATIENCE_S
    while len(started := children(process.pid)) < 5:  # generator, servers, two Envoys, OneHop
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.1)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not [pid for pid in started if alive(pid)]
    assert json.loads(out.read_text())["complete"] is False


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text().split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--url=http://127.0.0.1:1"], "--url needs --model"),
        (["--url=ftp://x", "--model=m"], "is not http://HOST:PORT"),
        (["--url=http://192.0.2.7:80", "--model=m"], "--allow-remote"),
        (["--url=http://user:pw@127.0.0.1:1", "--model=m"], "no user, query or fragment"),
        (["--picker-address=9002"], "is not HOST:PORT"),
        (["--picker-address=192.0.2.7:9002"], "--allow-remote"),
        (["--picker-pid=1"], "--picker-pid is that of --picker-address"),
        (["--prompts=12potatoes"], "is no size like 32KB"),
        (["--prompts=900MB"], "is no size like 32KB"),
        (["--answers=-1"], "is not a number up to"),
        (["--answers=0", "--prompts=0"], "nothing to play"),
        (["--only=nonsense"], "nothing to play"),
        (["--seconds=0"], "must be above 0"),
        (["--rate=nan"], "must be above 0"),
        (["--rate=1e9"], "at most"),
        (["--requests=1.5"], "is not a number"),
        (["--closed", "--rate=3"], "no --rate"),
        (["--closed", "--workload=rag"], "plays no workload"),
        (["--workload=failures"], "only `bench sim` plays that"),
        (["--workload=conversation"], "ONEHOP_TRACES"),
        (["--trace=/nonexistent"], "No such file"),
        (["--workload=rag", "--upstream=instant"], "answers no workload"),
        (["--wiring=w9"], "'w9' is none of w1, duplex"),
        (["--transport=carrier-pigeon"], "is none of native, grpc"),
        (["--gpu=b9000"], "no time constants for gpu"),
        (["--model=gpt"], "is not among the profiles"),
        (["--streams=5"], "--streams needs --upstream instant"),
        (["--raw"], "--raw goes into --json"),
        (["--json=/nonexistent/x.json"], "there is no folder"),
        (["--header=broken"], "a header is NAME:VALUE"),
        (["--replica-port=70000"], "is no port"),
        (["--url=http://127.0.0.1:1", "--model=m", "--allow-remote", "--seconds=3000"], "at most 600 s"),
    ],
)
def test_mistakes_are_named_before_anything_starts(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEHOP_TRACES", raising=False)
    monkeypatch.setattr(subprocess, "Popen", None)
    try:
        status = main(["bench", "live", *words])
    except SystemExit as ended:
        status = int(str(ended.code))

    assert status in (1, 2)
    assert why in capsys.readouterr().err
