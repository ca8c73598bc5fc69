"""What an installed OneHop has beside its code."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import epp

HERE = Path(epp.__file__).parent
DECLARED = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["epp"]
FOLDERS = ("cli/data", "edge/page")


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_that_are_no_code_are_declared(folder: str) -> None:
    files = [path.relative_to(HERE).as_posix() for path in (HERE / folder).iterdir() if path.is_file()]
    others = [name for name in files if not name.endswith(".py")]

    assert others
    assert [name for name in others if not any(fnmatch(name, pattern) for pattern in DECLARED)] == []
