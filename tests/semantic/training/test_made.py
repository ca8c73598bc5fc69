"""What the shipped folder says of where it comes from."""

import json
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from semantic.signals.settings import SHIPPED
from semantic.training import made
from semantic.training.made import sha256
from semantic.training.rebuild import BUILD, DATA, FULL, ROUTING

MADE: Any = json.loads((SHIPPED / "meta.json").read_text(encoding="utf-8"))["made"]


def test_every_shipped_file_is_named_with_its_digest() -> None:
    shipped = {path.name: sha256(path) for path in SHIPPED.iterdir() if path.name != "meta.json"}

    assert MADE["files"] == shipped
    assert {"model.onnx", "tier0.npz", "tokenizer.json", "NOTICE"} == set(shipped)


def test_commit_data_and_commands_are_those_of_the_rebuild() -> None:
    assert re.fullmatch("[0-9a-f]{40}", MADE["commit"])
    assert set(MADE["data"]) == {*DATA, *ROUTING}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in (*MADE["data"].values(), *MADE["base"].values()))
    built = [step[0] for step in FULL.steps(BUILD)]
    assert [command.split()[2] for command in MADE["commands"]] == [f"semantic.training.{name}" for name in built]


def test_installed_scripts_have_no_commit_and_are_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(made, "__file__", str(tmp_path / "made.py"))
    args = Namespace(commit=None, small=True, device="cpu", data=tmp_path, routing=tmp_path, out=tmp_path / "out")
    args.base = tmp_path / "some"
    args.out.mkdir()
    for name in (*DATA, *ROUTING, "some"):
        (tmp_path / name).touch()

    assert made.made(args)["commit"] == "unknown"
