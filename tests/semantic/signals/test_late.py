"""The encoder behind serving: tier 0 answers at once, who asks the encoder waits no longer than the deadline."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from threading import Event

import pytest

from semantic.classifier import Classifier
from semantic.onnx import read_tokenizer
from semantic.reading import ConfigError
from semantic.signals.encoder import Encoder
from semantic.signals.engine import Engine
from semantic.signals.heads import HeadSignals
from semantic.signals.late import LateEncoder
from semantic.signals.reader import SignalReader
from semantic.signals.settings import SHIPPED

SURE = "What is the derivative of x^3 + 2x with respect to x?"
OPEN = "how is it done there"


async def domain(signals: HeadSignals, text: str, seconds: float) -> tuple[str, int] | None:
    answers = (await signals.see(text, frozenset({"domain"}), asyncio.get_running_loop().time() + seconds)).answers
    return (answers["domain"].label, answers["domain"].tier) if "domain" in answers else None


async def test_tier_0_answers_while_the_encoder_loads_and_the_encoder_when_it_has() -> None:
    engine = Engine(late=True)
    may_load = Event()

    def load() -> Encoder:
        may_load.wait()
        return Encoder(SHIPPED, engine.settings, read_tokenizer(SHIPPED / "tokenizer.json"))

    late = LateEncoder(load)
    signals = HeadSignals(SignalReader(engine, Classifier(late)))
    # However long the first may take: the encoder does not load before it has its answer.
    at_once = [await domain(signals, SURE, 60), await domain(signals, OPEN, 0.05)]
    was_ready = late.ready
    may_load.set()
    later = await domain(signals, OPEN + " ", 60)
    signals.close()

    assert at_once == [("math", 0), None]
    assert not was_ready
    assert later is not None
    assert later[1] == 1
    assert late.ready


def test_loading_signals_leaves_the_encoder_for_later() -> None:
    signals = HeadSignals.load()
    before = signals.counts()["encoder_ready"]  # type: ignore[index]  # a mapping, here
    signals.prepare()
    after = signals.counts()["encoder_ready"]  # type: ignore[index]  # a mapping, here
    signals.close()

    assert (before, after) == (False, True)


def test_it_is_loaded_once_for_all() -> None:
    loads: list[int] = []

    class Counted(Encoder):
        def __init__(self) -> None:
            loads.append(1)

        def classify(self, texts: Sequence[str]) -> list[object]:  # type: ignore[override]  # nothing looks inside
            return [object()] * len(texts)

    late = LateEncoder(Counted)
    late.prepare()
    late.classify(["one", "two"])

    assert loads == [1]


def test_a_folder_that_is_none_says_so_when_it_is_loaded(tmp_path: Path) -> None:
    engine = Engine(late=True)
    late = LateEncoder(lambda: Encoder(tmp_path, engine.settings, read_tokenizer(SHIPPED / "tokenizer.json")))

    with pytest.raises(ConfigError, match=r"no model\.onnx"):
        late.prepare()
    assert not late.ready
