"""Signals in time: what runs, what is unknown, what a partial answer says."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator

import pytest

from semantic.classifier import Classifier
from semantic.signals import engine as engine_module
from semantic.signals import reader as reader_module
from semantic.signals.api import Span
from semantic.signals.detectors import SLICE_CHARACTERS
from semantic.signals.engine import ENCODED, Ask, Engine, Glance
from semantic.signals.reader import GLANCES_S, SLICE_S, SignalReader
from semantic.signals.values import TextSignals
from semantic.windows import PIECE_CHARACTERS
from tests.semantic.conftest import HeldEncoder

LONG_S = 30.0
SOON_S = 0.25  # enough to begin within, also on a crowded machine
PLAIN = "What is 2+2 * (5-1)?"
Make = Callable[..., SignalReader]


@pytest.fixture
def make(engine: Engine, held_encoder: HeldEncoder) -> Iterator[Make]:
    made: list[SignalReader] = []

    def build(tier: Ask = "auto", **bounds: int) -> SignalReader:
        made.append(SignalReader(engine, Classifier(held_encoder, **bounds), tier))
        return made[-1]

    yield build
    held_encoder.open.set()
    for reader in made:
        reader.close()


async def read(reader: SignalReader, text: str, seconds: float = LONG_S, *needs: str) -> TextSignals:
    wanted = frozenset(needs) if needs else None
    return await reader.read(text, asyncio.get_running_loop().time() + seconds, wanted)


async def test_a_head_nobody_needs_does_not_make_the_encoder_run(make: Make, held_encoder: HeldEncoder) -> None:
    found = await read(make(), PLAIN, LONG_S, "language")

    assert held_encoder.batches == []
    assert (found.heads["language"].label, found.level, found.heads["domain"].tier) == ("en", "full", 0)


async def test_tier_0_never_asks_and_says_that_something_is_open(make: Make, held_encoder: HeldEncoder) -> None:
    found = await read(make("0"), "hm, what about that one?")

    assert held_encoder.batches == []
    assert (found.level, found.pii_tier) == ("degraded", 0)


async def test_tier_1_answers_every_head_the_encoder_has(make: Make) -> None:
    found = await read(make("1"), "history")

    assert found.heads["domain"].label == "history"
    assert {found.heads[name].tier for name in ENCODED} == {1}
    assert found.level == "full"
    assert found.embedding is not None


async def test_past_the_deadline_heads_are_missing_not_negative(make: Make, held_encoder: HeldEncoder) -> None:
    reader = make("1")
    held_encoder.open.clear()
    found = await read(reader, PLAIN, SOON_S)

    assert set(found.heads) == {"language"}
    assert found.level == "degraded"
    assert reader.levels.degraded == 1


async def test_when_the_encoder_fails_only_what_tier_0_was_sure_of_is_known(make: Make, engine: Engine) -> None:
    found = await read(make(), "broken")

    assert set(found.heads) == {"language", *ENCODED} - engine.glance("broken").open
    assert found.level == "degraded"


async def test_without_text_everything_is_skipped(make: Make) -> None:
    found = await read(make("1"), " \n")

    assert (found.heads, found.pii, found.level) == ({}, (), "skipped")


async def test_detected_data_needs_no_encoder(make: Make, held_encoder: HeldEncoder) -> None:
    held_encoder.open.clear()
    found = await read(make("1"), "mail a.b@c.example", SOON_S)

    assert [span.type for span in found.pii] == ["EMAIL_ADDRESS"]


async def test_a_long_text_is_read_in_pieces_its_ends_first(make: Make, held_encoder: HeldEncoder) -> None:
    text = "".join(f"sentence number {n} of a long story. " for n in range(300))
    found = await read(make("1", batch_texts_max=1), text)
    asked = [batch[0] for batch in held_encoder.batches]

    assert text.startswith(asked[0])
    assert text.endswith(asked[1])
    assert all(len(piece) <= PIECE_CHARACTERS for piece in asked)
    assert found.coverage.scanned_bytes == found.coverage.total_bytes == len(text)


async def test_what_of_a_long_text_was_not_had_in_time_is_told(make: Make, held_encoder: HeldEncoder) -> None:
    text = "".join(f"step {n} of a long way. " for n in range(300))
    reader = make("1", batch_texts_max=1, waiting_texts_max=2)
    found = await read(reader, text)

    assert found.level == "degraded"
    assert 0 < found.coverage.scanned_bytes < found.coverage.total_bytes
    assert found.heads["domain"].label == "math"


async def test_signals_hold_nothing_of_the_text(make: Make) -> None:
    found = await read(make("1"), "canary-4711 wrote to canary-4711@mail.example")

    assert "canary" not in repr(found)


MAIL = "write to ann.miller@mail.example, or call "


async def test_a_long_text_leaves_others_their_turns_while_it_is_looked_through(make: Make) -> None:
    text = MAIL * (60 * SLICE_CHARACTERS // len(MAIL))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(other())
    found = await read(make("0"), text)
    others.cancel()

    assert len(found.pii) == text.count("@")
    assert turns >= 60


async def test_no_turn_of_a_long_text_is_much_longer_than_that_of_a_short_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []
    run = asyncio.events.Handle._run

    def timed(handle: asyncio.events.Handle) -> None:
        began = time.thread_time()  # what the machine does besides is not counted
        run(handle)
        turns.append(time.thread_time() - began)

    monkeypatch.setattr(asyncio.events.Handle, "_run", timed)
    reader, longest = make("1"), []
    gc.collect()
    gc.freeze()  # what other tests have left would be gone through in some turn
    for count in (1, 1, 60):
        turns.clear()
        await read(reader, MAIL * (count * SLICE_CHARACTERS // len(MAIL)), LONG_S, "pii")
        await asyncio.sleep(0)  # ends the turn that has the last of it
        longest.append(max(turns))
    gc.unfreeze()

    assert longest[-1] <= 5 * longest[1]


async def test_the_deadline_ends_the_search_and_says_so(make: Make, held_encoder: HeldEncoder) -> None:
    found = await read(make("0"), MAIL * 100_000, SOON_S, "pii")

    assert 0 < len(found.pii) < 100_000
    assert (found.level, found.pii_complete) == ("degraded", False)


async def test_of_a_long_text_only_what_can_be_read_in_time_is_asked_for(make: Make, held_encoder: HeldEncoder) -> None:
    reader = make("1")
    reader.classifier.pace.character_s = LONG_S / (3 * PIECE_CHARACTERS)
    await read(reader, "word " * 4_000, LONG_S, "domain")

    assert sum(map(len, held_encoder.batches)) <= 4


async def test_what_nobody_asked_for_is_not_looked_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "detect", pytest.fail)
    found = await read(make("0"), MAIL, LONG_S, "domain")

    assert (found.pii, found.pii_complete) == ((), False)


async def test_glances_that_come_at_once_leave_turns_to_others(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, turns = make("0"), [0]
    glance = reader.engine.glance

    def slow(text: str, *, personal: bool = True) -> Glance:
        turns[-1] += 1
        time.sleep(GLANCES_S / 2)
        return glance(text, personal=personal)

    monkeypatch.setattr(reader.engine, "glance", slow)
    asked = [asyncio.create_task(read(reader, f"What is {n} + {n}?")) for n in range(12)]
    while not all(task.done() for task in asked):
        await asyncio.sleep(0)
        turns.append(0)

    assert sum(turns) == 12
    assert max(turns) <= 2


async def test_whose_turn_comes_after_the_deadline_is_unknown(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "GLANCES_S", SOON_S / 3)
    reader = make("0")
    glance, seen = reader.engine.glance, []

    def slow(text: str, *, personal: bool = True) -> Glance:
        seen.append(text)
        time.sleep(SOON_S / 3)
        return glance(text, personal=personal)

    monkeypatch.setattr(reader.engine, "glance", slow)
    found = await asyncio.gather(*(read(reader, f"What is {n} + {n}?", SOON_S) for n in range(20)))
    late = [signals for signals in found if not signals.heads]

    assert 1 <= len(seen) <= 5
    assert len(late) == len(found) - len(seen)
    assert {(one.level, one.pii_complete, one.coverage.scanned_bytes) for one in late} == {("degraded", False, 0)}


async def test_searches_that_wait_for_each_other_all_end_at_the_deadline(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 0.2
    after: list[float] = []

    def slowly(text: str, found: list[Span]) -> Iterator[None]:
        while True:
            now = loop.time()
            after.extend([now] if now >= deadline else [])
            time.sleep(SLICE_S)
            yield

    monkeypatch.setattr(reader_module, "scan", slowly)
    reader = make("0")
    text = "a b " * SLICE_CHARACTERS
    found = await asyncio.gather(*(reader.read(text, deadline, frozenset({"pii"})) for _ in range(20)))

    assert not any(signals.pii_complete for signals in found)
    assert len(after) <= 2
