"""The quickstart as its user runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from epp.cli.stack import free_ports

COMMAND = [sys.executable, "-m", "epp", "quickstart"]


def quickstart(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **environment},
    )


def test_the_story_comes_out_right_and_is_written_as_data(tmp_path: Path) -> None:
    file = tmp_path / "story.json"
    done = quickstart("--once", "--json", str(file), "--port", "0")
    story = {row["name"]: row for row in json.loads(file.read_text())["requests"]}

    assert done.returncode == 0, done.stdout + done.stderr
    assert {row["status"] for row in story.values()} == {200}
    assert set(story["explicit"]) == {
        "name", "status", "asked_model", "selected_model", "decision", "endpoint", "seconds",
    }  # fmt: skip
    assert (story["explicit"]["asked_model"], story["explicit"]["selected_model"]) == ("llama3-8b", "llama3-8b")
    assert (story["auto-math"]["asked_model"], story["auto-math"]["selected_model"]) == ("auto", "phi4-mini")
    assert story["auto-math"]["decision"] == "math_decision"
    assert sum(name.startswith("burst-") for name in story) == 26
    for said in ("category  math", "confidence", "candidates in order: phi4-mini, llama3-8b", "replica", "events"):
        assert said in done.stdout


def test_a_taken_port_is_a_clear_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = quickstart("--once", "--port", str(port))

    assert done.returncode == 1
    assert done.stderr == f"onehop quickstart: --port: port {port} is taken; choose another with --port\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--replicas", "0"], "--replicas: must be 1 to 50"),
        (["--port", "70000"], "--port: must be 0 to 65535"),
        (["--json", "/no/such/folder/x.json"], "there is no folder /no/such/folder"),
    ],
)
def test_a_bad_argument_is_a_clear_sentence(arguments: list[str], said: str) -> None:
    done = quickstart("--once", *arguments)

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_it_stays_up_until_interrupted_and_leaves_no_process(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    running = subprocess.Popen([*COMMAND, "--port", str(port)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    told = []
    for line in running.stdout:
        told.append(line)
        if "Ctrl-C" in line:
            break
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    running.send_signal(signal.SIGINT)
    code = running.wait(30)

    assert f"curl -i http://127.0.0.1:{port}/v1/chat/completions" in "".join(told)
    assert len(children) == 2
    assert code == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    running.stdout.close()
