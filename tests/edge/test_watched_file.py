"""A configuration file that is followed: taken up whole, and not believed when it is bad."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from epp.domain import ConfigError
from epp.edge.watched_file import WatchedFile

from .until import running, until


class Owner:
    """Builds texts of a file; one that begins with `bad` is a mistake, with `odd` a defect."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.used: list[str] = []
        self.builds = 0
        self.broken = False  # a disk that fails

    def build(self) -> str:
        self.builds += 1
        if self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        try:
            text = self.path.read_text()
        except OSError as gone:
            raise ConfigError(str(self.path), "cannot be read") from gone
        if text.startswith("bad"):
            raise ConfigError(f"{self.path}: some.key", "is wrong")
        if text.startswith("odd"):
            raise ZeroDivisionError
        return text


def edit(path: Path, text: str) -> None:
    path.write_text(text)


def move(path: Path, to: Path) -> None:
    path.replace(to)


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[tuple[WatchedFile[str], Owner]]:
    owner = Owner(path)
    file = WatchedFile(path, owner.build, owner.used.append, poll_s=0.02, settle_s=0.01)
    async with running(file.watch()):
        yield file, owner


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("one")
    return path


async def test_a_change_is_taken_up(path: Path) -> None:
    async with watching(path) as (file, owner):
        edit(path, "two")
        await until(lambda: owner.used)

    assert owner.used == ["two"]
    assert (file.reloads, file.failures, file.last_error) == (1, 0, None)


async def test_a_bad_file_changes_nothing_and_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with watching(path) as (file, owner):
        edit(path, "bad")
        await until(lambda: file.last_error)
        builds = owner.builds
        await asyncio.sleep(0.2)
        told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        error = file.last_error
        edit(path, "good")
        await until(lambda: owner.used)

    assert told == [f"the configuration is not used, the one before stays: {path}: some.key: is wrong"]
    assert error == f"{path}: some.key: is wrong"
    assert builds == 1
    assert (owner.used, file.last_error, file.failures) == (["good"], None, 1)


async def test_a_defect_in_building_changes_nothing_either(path: Path) -> None:
    async with watching(path) as (file, owner):
        edit(path, "odd")
        await until(lambda: file.last_error)

    assert (owner.used, file.last_error) == ([], f"{path}: unexpected ZeroDivisionError")


async def test_a_configmaps_symlink_swap_is_seen(tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(name)
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "config.yaml"
    path.symlink_to("..data/config.yaml")
    async with watching(path) as (_, owner):
        (tmp_path / "..new").symlink_to("v2")
        move(tmp_path / "..new", tmp_path / "..data")
        await until(lambda: owner.used)

    assert owner.used == ["v2"]


async def test_a_file_that_is_gone_is_told_and_taken_up_when_it_is_back(path: Path) -> None:
    async with watching(path) as (file, owner):
        move(path, path.with_suffix(".gone"))
        await until(lambda: file.last_error)
        move(path.with_suffix(".gone"), path)
        await until(lambda: owner.used)

    assert owner.used == ["one"]


async def test_a_file_that_cannot_be_read_is_told_once_and_looked_at_again_though_it_did_not_change(path: Path) -> None:
    async with watching(path) as (file, owner):
        owner.broken = True
        edit(path, "two")
        await until(lambda: file.last_error)
        looked = owner.builds
        await until(lambda: owner.builds > looked + 2)
        why, failures = file.last_error, file.failures
        owner.broken = False
        await until(lambda: owner.used)

    assert (why, failures) == ("cannot be read: Input/output error", 1)
    assert (owner.used, file.last_error) == (["two"], None)
