"""`onehop migrate` on a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from epp.__main__ import main

OLD = {
    "model_config": {"big": {}, "small": {}},
    "categories": [{"name": "math"}],
    "decisions": [
        {
            "name": "maths",
            "priority": 10,
            "rules": {"operator": "OR", "conditions": [{"type": "domain", "rule_name": "math"}]},
            "modelRefs": [{"model": "small"}],
        }
    ],
    "default_model": "big",
    "semantic_cache": {"enabled": True},
}


@pytest.fixture
def migrated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(yaml.safe_dump(OLD))
    assert main(["migrate", str(old)]) == 0
    said = capsys.readouterr()
    new.write_text(said.out)
    assert "semantic_cache: answers are not cached" in said.err
    assert "categories -> routing.signals.domains" in said.err
    return new


def test_what_is_printed_is_a_file_that_check_calls_good(migrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(migrated)]) == 0
    assert "1 decisions over the models big, small, good" in capsys.readouterr().out


def test_it_can_be_written_to_a_file(migrated: Path, tmp_path: Path) -> None:
    assert main(["migrate", str(tmp_path / "old.yaml"), "--output", str(tmp_path / "out.yaml")]) == 0

    assert (tmp_path / "out.yaml").read_text() == migrated.read_text()


def test_a_new_file_needs_no_conversion(migrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", str(migrated)]) == 1

    assert "there is nothing to convert" in capsys.readouterr().err
