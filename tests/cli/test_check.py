"""`onehop check` and the command line itself: good files, bad files, wrong words."""

from __future__ import annotations

from pathlib import Path

import pytest

from epp.__main__ import main
from epp.cli.quickstart import CONFIG

GOOD = "endpoints:\n- {name: a, address: 10.0.0.1, port: 8000}\n"


def test_good_files_are_told_by_their_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "any-name"
    file.write_text(GOOD)
    code = main(["check", str(file), str(CONFIG)])
    said = capsys.readouterr().out

    assert code == 0
    assert "a discovery file of 1 endpoints, good" in said
    assert "a semantic configuration of 5 decisions over the models llama3-8b, phi4-mini, good" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"endpoints:\n- {name: a, adress: 10.0.0.1, port: 8000}\n", "endpoints[0].adress: unknown key"),
        (b'{"endpoints": [{"name": "a", "address": "10.0.0.1", "port": 0}]}', "endpoints[0].port: must be"),
        (b"version: v0.9\n", "version: 'v0.9' is not supported"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"[" * 100_000, "nested"),
        (b"", "is empty"),
    ],
)
def test_every_mistake_is_a_line_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    code = main(["check", str(file)])
    told = capsys.readouterr().err

    assert code == 1
    assert all(line.startswith(f"{file}: ") for line in told.splitlines())
    assert said in told


def test_one_bad_file_fails_the_check_of_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(GOOD)

    assert main(["check", str(tmp_path / "missing"), str(good)]) == 1
    assert "No such file" in capsys.readouterr().err


def test_an_unknown_command_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["srve"]) == 2
    assert "there is no command 'srve'" in capsys.readouterr().err


def test_flags_without_a_command_serve(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--grpc-port=1"]) == 1
    assert "onehop serve: --discovery-file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("version: v0.3\n", "default_model"),
        (CONFIG.read_text().replace("priority: 10", "priorty: 10", 1), "priorty"),
    ],
)
def test_a_bad_semantic_file_stops_the_start_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    endpoints, semantic = tmp_path / "endpoints.yaml", tmp_path / "semantic.yaml"
    endpoints.write_text(GOOD)
    semantic.write_text(content)
    ports = [f"--{name}-port=0" for name in ("grpc", "grpc-health", "metrics")]
    code = main(["serve", f"--discovery-file={endpoints}", f"--semantic-config-file={semantic}", *ports])
    told = capsys.readouterr().err

    assert code == 1
    assert f"onehop serve: {semantic}: " in told
    assert said in told
