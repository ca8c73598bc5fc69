"""The stage in a process: reloads aside and whole, models of one's own behind serving, all closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from epp.domain import ConfigError
from epp.semantic_stage import SemanticStage
from semantic.config import ConfigError as SemanticConfigError
from tests.edge.until import running as kept_running
from tests.edge.until import until
from tests.semantic.fakes import LONG_S, Told, chat
from tests.semantic.onnx_files import classifier
from tests.semantic.stage import FILE
from tests.semantic.test_own_models import RISK, WORDS, with_classifier


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "semantic.yaml"
    path.write_text(FILE)
    return path


@asynccontextmanager
async def running(path: Path, told: Told | None = None) -> AsyncIterator[SemanticStage]:
    stage = SemanticStage(path, signals=told or Told(), poll_s=0.02, settle_s=0.01)
    try:
        async with kept_running(stage.watch()):
            yield stage
    finally:
        stage.close()


def edit(path: Path, text: str) -> None:
    path.write_text(text)


def add(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


async def settled(stage: SemanticStage, condition: Callable[[SemanticStage], object]) -> None:
    await until(lambda: condition(stage))


async def test_a_new_file_decides_from_then_on(path: Path) -> None:
    async with running(path) as stage:
        first = await stage.router.choose(chat("about math"), LONG_S)
        edit(path, FILE.replace("name: maths", "name: calculations"))
        await settled(stage, lambda s: s.file.reloads)
        second = await stage.router.choose(chat("about math"), LONG_S)

    assert (first.decision, second.decision) == ("maths", "calculations")


async def test_a_bad_file_keeps_the_old_one_and_says_why(path: Path) -> None:
    async with running(path) as stage:
        edit(path, FILE.replace("default_model: big", "default_model: bgi"))
        await settled(stage, lambda s: s.file.last_error)
        choice = await stage.router.choose(chat("about math"), LONG_S)
        error = stage.file.last_error

    assert choice.decision == "maths"
    assert error is not None
    assert "providers.defaults.default_model: the model 'bgi' is not in routing.modelCards" in error


async def test_conversations_are_remembered_over_a_reload(path: Path) -> None:
    async with running(path) as stage:
        await stage.router.choose(chat("about law"), LONG_S)
        edit(path, FILE + "# changed\n")
        await settled(stage, lambda s: s.file.reloads)
        choice = await stage.router.choose(chat("about law", "and why?"), LONG_S)

    assert choice.decision == "laws"


async def test_the_shipped_models_are_kept_and_closed_once_at_the_end(path: Path) -> None:
    told = Told()
    async with running(path, told) as stage:
        edit(path, FILE + "# changed\n")
        await settled(stage, lambda s: s.file.reloads)
        during = told.closed

    assert (during, told.closed) == (False, True)


def broken_model(tmp_path: Path) -> Path:
    path = with_classifier(tmp_path)
    (tmp_path / "risk" / "model.onnx").write_bytes(b"not a model")
    return path


async def test_a_model_that_cannot_be_loaded_at_the_start_is_a_condition_and_no_end(tmp_path: Path) -> None:
    async with running(broken_model(tmp_path)) as stage:
        await settled(stage, lambda s: s.models_error)
        choice = await stage.router.choose(chat("delete it"), LONG_S)
        error = stage.models_error

    assert choice.models == ("big",)
    assert error is not None
    assert "routing.signals.classifiers[0].model_path: onnxruntime cannot load model.onnx" in error


async def test_a_reload_whose_models_cannot_be_loaded_is_not_used(tmp_path: Path) -> None:
    path = with_classifier(tmp_path)
    async with running(path) as stage:
        await settled(stage, lambda s: not s.router.own.loading)
        router = stage.router
        (tmp_path / "risk" / "model.onnx").write_bytes(b"not a model")
        add(path, "# changed\n")
        await settled(stage, lambda s: s.file.last_error)
        choice = await stage.router.choose(chat("delete it"), LONG_S)
        same = stage.router is router
        classifier(tmp_path / "risk", RISK, WORDS)
        add(path, "# again\n")
        await settled(stage, lambda s: s.file.reloads)
        after = await stage.router.choose(chat("delete it now"), LONG_S)

    assert same
    assert choice.decision == "risky"
    assert after.decision == "risky"


def test_a_bad_file_at_the_start_stops_it_with_every_mistake(path: Path) -> None:
    edit(path, FILE.replace("default_model: big", "default_model: bgi").replace("priority: 99", "prio: 99"))

    with pytest.raises(ConfigError, match="bgi") as caught:
        SemanticStage(path, signals=Told())
    assert "routing.decisions[0].prio: unknown key" in str(caught.value)


async def test_an_encoder_that_cannot_be_loaded_is_a_condition_and_serving_goes_on(path: Path) -> None:
    class Broken(Told):
        def prepare(self) -> None:
            raise SemanticConfigError("model.onnx", "cannot be loaded by onnxruntime: a test")

    async with running(path, Broken()) as stage:
        await settled(stage, lambda s: s.models_error)
        choice = await stage.router.choose(chat("about math"), LONG_S)
        error = stage.models_error

    assert choice.decision == "maths"
    assert error == f"{path}: model.onnx: cannot be loaded by onnxruntime: a test"
