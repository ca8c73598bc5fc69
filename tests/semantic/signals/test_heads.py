"""The shipped models behind the seam: what they provide, what is wanted, what is unknown."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from semantic.classifier import Classifier
from semantic.signals.api import EMBEDDING, PII, Seen
from semantic.signals.engine import Engine
from semantic.signals.heads import HeadSignals
from semantic.signals.reader import SignalReader
from semantic.signals.shipped import PROVIDES
from tests.semantic.conftest import HeldEncoder

LONG_S = 30.0
SOON_S = 0.25  # enough to begin within, also on a crowded machine


@pytest.fixture
def signals(engine: Engine) -> Iterator[HeadSignals]:
    made = HeadSignals(SignalReader(engine, Classifier(engine.encoder)))
    yield made
    made.close()


async def see(signals: HeadSignals, text: str, *wanted: str, seconds: float = LONG_S) -> Seen:
    return await signals.see(text, frozenset(wanted), asyncio.get_running_loop().time() + seconds)


def test_what_is_provided_is_what_the_shipped_folder_holds(engine: Engine) -> None:
    heads = engine.glance("hello").heads

    assert {name: set(head.probabilities) for name, head in heads.items()} == {
        name: set(labels) for name, labels in PROVIDES.items() if name not in (PII, EMBEDDING)
    }
    assert {tag[2:] for tag in engine.settings.pii.tags if tag != "O"} == set(PROVIDES[PII])


async def test_only_what_is_wanted_comes_back(signals: HeadSignals) -> None:
    seen = await see(signals, "can my landlord evict me without notice", "domain")

    assert set(seen.answers) == {"domain"}
    assert seen.answers["domain"].label == "law"
    assert (seen.spans, seen.embedding) == (None, None)


async def test_a_wanted_vector_has_unit_length_and_is_that_of_the_phrase(signals: HeadSignals) -> None:
    seen = await see(signals, "a cat sleeps", EMBEDDING)
    phrase = signals.embed(["a cat sleeps"])

    assert seen.embedding is not None
    assert phrase is not None
    assert float(seen.embedding @ seen.embedding) == pytest.approx(1, abs=1e-4)
    assert float(seen.embedding @ phrase[0]) > 0.99
    assert signals.embed([]) is None


async def test_personal_data_is_unknown_until_somebody_looked_for_names(engine: Engine) -> None:
    held = HeldEncoder()
    held.open.clear()
    late = HeadSignals(SignalReader(engine, Classifier(held), tier="1"))
    unknown = await see(late, "please write to Anna Schmidt in Hamburg, my old friend", PII, seconds=SOON_S)
    found = await see(late, "please write to Anna Schmidt, anna@mail.example", PII, seconds=SOON_S)
    held.open.set()
    late.close()

    assert unknown.spans is None
    assert found.spans is not None
    assert [span.type for span in found.spans] == ["EMAIL_ADDRESS"]


async def test_nothing_wanted_asks_nobody(signals: HeadSignals) -> None:
    assert await see(signals, "hello") == Seen()


async def test_a_threshold_of_another_replaces_the_own(engine: Engine) -> None:
    strict = HeadSignals(SignalReader(engine, Classifier(engine.encoder)), {"domain": 0.999})
    seen = await see(strict, "can my landlord evict me without notice", "domain")
    strict.close()

    assert seen.answers["domain"].abstained
    assert np.isclose(seen.answers["domain"].threshold, 0.999)


async def test_spans_of_a_text_that_was_not_looked_through_are_not_all(engine: Engine) -> None:
    signals = HeadSignals(SignalReader(engine, Classifier(engine.encoder), "0"))
    loop = asyncio.get_running_loop()
    part = await signals.see("write to ann@mail.example, " * 100_000, frozenset({PII}), loop.time() + SOON_S)
    signals.close()

    assert part.spans
    assert not part.spans_complete
