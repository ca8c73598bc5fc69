"""The discovery file on disk: loaded, followed through edits and symlink swaps, and not believed when it is bad."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from epp.datastore.membership import Naming
from epp.datastore.pool import Pool
from epp.datastore.selectors import parse
from epp.domain import ConfigError
from epp.edge.discovery_file import DiscoveryFile

from .until import running, until

POLL_S = 0.02


def text(*names: str) -> str:
    return "endpoints:\n" + "".join(f"- {{name: {name}, address: {name}.local, port: 8000}}\n" for name in names)


def names(pool: Pool) -> list[str]:
    return [endpoint.name.removeprefix("default/") for endpoint in pool.endpoints]


def edit(path: Path, content: str, *, keep_time: bool = False) -> None:
    """Write in place, as an editor does that keeps the file."""
    before = path.stat()
    path.write_text(content)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def move(path: Path, to: Path) -> None:
    path.rename(to)


class Reloads:
    """Counts what the owner is told."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "endpoints.yaml"
    path.write_text(text("a", "b"))
    return path


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[DiscoveryFile]:
    """A file that is loaded and watched with short pauses."""
    file = DiscoveryFile(path, Pool(), poll_s=POLL_S, settle_s=0.01, on_reload=Reloads())
    file.load()
    async with running(file.watch()):
        yield file


def test_the_first_load_fills_the_pool(path: Path) -> None:
    file = DiscoveryFile(path, Pool())
    file.load()

    assert names(file.pool) == ["a", "b"]
    assert file.last_error is None


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (
            "endpoints: [{name: a, address: h, port: 0}]",
            'endpoints[0].port: must be a whole number from 1 to 65535, not "0"',
        ),
        ("endpoints: [}", "line 1, column 13: not YAML or JSON: did not find expected node content"),
        ("#" * ((1 << 20) + 1), "file: is larger than 1048576 bytes"),
    ],
)
def test_a_bad_file_at_the_start_names_file_and_mistake(path: Path, content: str, mistake: str) -> None:
    path.write_text(content)
    file = DiscoveryFile(path, Pool())
    with pytest.raises(ConfigError) as raised:
        file.load()

    assert str(raised.value).startswith(f"{path}: ")
    assert file.pool.endpoints == ()
    assert str(raised.value).removeprefix(f"{path}: ") == mistake


def test_a_missing_file_at_the_start_stops_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        DiscoveryFile(tmp_path / "none.yaml", Pool()).load()
    with pytest.raises(ConfigError) as folder:
        DiscoveryFile(tmp_path, Pool()).load()

    assert str(missing.value) == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"
    assert str(folder.value) == f"{tmp_path}: cannot be read: Is a directory"


async def test_an_edit_is_taken_up_and_those_who_stay_are_the_same_objects(path: Path) -> None:
    async with watching(path) as file:
        a, b = file.pool.endpoints
        edit(path, text("b", "c"))
        await until(lambda: names(file.pool) == ["b", "c"])

        assert file.pool.endpoints[0] is b
        assert a not in file.pool.endpoints
        assert file.reloads == 1
        assert isinstance(file.on_reload, Reloads)
        assert file.on_reload.count == 1


async def test_an_edit_that_keeps_size_and_time_is_seen(path: Path) -> None:
    async with watching(path) as file:
        edit(path, text("a", "c"), keep_time=True)

        await until(lambda: names(file.pool) == ["a", "c"])


async def test_an_empty_list_empties_the_pool(path: Path) -> None:
    async with watching(path) as file:
        edit(path, "endpoints: []")

        await until(lambda: file.pool.endpoints == ())


async def test_a_swapped_symlink_is_followed_as_a_config_map_does_it(tmp_path: Path) -> None:
    for version, name in enumerate("ab"):
        (tmp_path / f"..v{version}").mkdir()
        (tmp_path / f"..v{version}" / "endpoints.yaml").write_text(text(name))
    (tmp_path / "..data").symlink_to("..v0")
    (tmp_path / "endpoints.yaml").symlink_to("..data/endpoints.yaml")
    async with watching(tmp_path / "endpoints.yaml") as file:
        first = names(file.pool)
        (tmp_path / "..data_tmp").symlink_to("..v1")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await until(lambda: names(file.pool) == ["b"])

        assert first == ["a"]


async def test_a_bad_edit_keeps_the_endpoints_says_why_once_and_a_good_one_heals(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="epp.edge.watched_file")
    async with watching(path) as file:
        before = file.pool.endpoints
        edit(path, "endpoints: [{name: a, adress: h, port: 1}]")
        await until(lambda: file.last_error)
        await asyncio.sleep(POLL_S * 5)
        why, failures, kept = file.last_error, file.failures, file.pool.endpoints
        edit(path, text("a"))
        await until(lambda: names(file.pool) == ["a"])

        assert why == 'endpoints[0].adress: unknown key; did you mean "address"? (and 1 more)'
        assert failures == 1
        assert kept is before
        assert file.last_error is None
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert f"{path}: {why}" in caplog.records[0].getMessage()
        assert caplog.records[1].getMessage() == f"the discovery file {path} was reloaded: 1 endpoints"


async def test_a_vanished_file_keeps_the_endpoints_and_is_taken_up_when_it_is_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(path) as file:
        aside = path.with_suffix(".aside")
        move(path, aside)
        await until(lambda: file.last_error)
        await asyncio.sleep(POLL_S * 5)
        why, failures, kept = file.last_error, file.failures, names(file.pool)
        move(aside, path)
        await until(lambda: file.last_error is None)

        assert why == "cannot be read: No such file or directory"
        assert failures == 1
        assert kept == ["a", "b"] == names(file.pool)
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_a_file_in_the_middle_of_being_written_is_not_believed(path: Path) -> None:
    seen = []
    async with watching(path) as file:
        file.settle_s = 0.1
        with path.open("w") as half:
            half.write(text("x"))
            half.flush()
            for _ in range(10):
                await asyncio.sleep(POLL_S)
                half.write("# more to come\n")
                half.flush()
                seen.append(names(file.pool))
            half.write("- {name: y, address: y, port: 1}\n")
        await until(lambda: names(file.pool) == ["x", "y"])

    assert ["x"] not in seen


def test_labels_tell_the_models_until_the_servers_do(path: Path) -> None:
    path.write_text(
        "endpoints:\n"
        "- {name: a, address: a, port: 1, labels: {model: llama3-8b}}\n"
        "- {name: b, address: b, port: 1, labels: {app: phi}}\n"
        "- {name: c, address: c, port: 1}\n"
    )
    file = DiscoveryFile(path, Pool(), naming=Naming("model", (("phi4-mini", parse("app=phi")),)))
    file.load()

    assert [set(e.serves or ()) for e in file.pool.endpoints] == [{"llama3-8b"}, {"phi4-mini"}, set()]
