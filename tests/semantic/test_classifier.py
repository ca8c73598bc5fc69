"""Batching, deadlines, bounds, cancellation and failure of the classifier."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from semantic.classifier import SHORT_FIRST, Classifier
from semantic.pace import BATCH_CHARACTERS_MAX, BATCH_CHARACTERS_MIN, Pace
from tests.semantic.conftest import HeldModel

LONG_S = 30.0
Make = Callable[..., Classifier[str]]


@pytest.fixture
def make(held: HeldModel) -> Iterator[Make]:
    """Builds classifiers over the held model and closes them, with the model let go, at the end."""
    made: list[Classifier[str]] = []

    def build(**bounds: int) -> Classifier[str]:
        made.append(Classifier(held, **bounds))
        return made[-1]

    yield build
    held.open.set()
    for classifier in made:
        classifier.close()


def ask(classifier: Classifier[str], text: str, seconds: float = LONG_S, rank: int = 0) -> asyncio.Task[str | None]:
    return asyncio.create_task(classifier.classify(text, asyncio.get_running_loop().time() + seconds, rank))


async def begun(held: HeldModel) -> None:
    """Waits until the worker is inside the model."""
    await asyncio.to_thread(held.started.wait, 10)


async def held_up(classifier: Classifier[str], held: HeldModel, text: str) -> asyncio.Task[str | None]:
    """A text that the model is busy with until it is let go."""
    held.open.clear()
    running = ask(classifier, text)
    await begun(held)
    return running


async def test_texts_that_arrive_while_a_batch_runs_form_the_next_batch(make: Make, held: HeldModel) -> None:
    classifier = make()
    first = await held_up(classifier, held, "one")
    rest = [ask(classifier, text) for text in ("two", "three", "four")]
    await asyncio.sleep(0)
    held.open.set()
    results = await asyncio.gather(first, *rest)

    assert results == ["one", "two", "three", "four"]
    assert held.batches == [["one"], ["two", "three", "four"]]


async def test_a_batch_takes_no_more_texts_than_its_bound(make: Make, held: HeldModel) -> None:
    classifier = make(batch_texts_max=2)
    held.open.clear()
    asked = [ask(classifier, str(n)) for n in range(5)]
    await begun(held)
    held.open.set()
    await asyncio.gather(*asked)

    assert max(len(batch) for batch in held.batches) == 2


async def test_long_texts_share_a_batch_with_fewer_others(make: Make, held: HeldModel) -> None:
    classifier = make()
    first = await held_up(classifier, held, "one")
    rest = [ask(classifier, str(n) * 3000) for n in range(9)]
    await asyncio.sleep(0)
    held.open.set()
    await asyncio.gather(first, *rest)

    assert all(len(batch) * max(map(len, batch)) <= BATCH_CHARACTERS_MAX for batch in held.batches)
    assert len(held.batches) > 2


async def test_the_answer_is_unknown_after_the_deadline_and_the_late_result_is_dropped(
    make: Make, held: HeldModel
) -> None:
    classifier = make()
    held.open.clear()
    late = await classifier.classify("one", asyncio.get_running_loop().time() + 0.01)
    held.open.set()
    later = await ask(classifier, "two")

    assert late is None
    assert [later] == ["two"]
    assert classifier.counts.late == 1


async def test_an_expired_request_is_not_sent_to_the_model(make: Make, held: HeldModel) -> None:
    classifier = make()
    first = await held_up(classifier, held, "one")
    late = await classifier.classify("expired", asyncio.get_running_loop().time() + 0.01)
    held.open.set()
    await first
    await ask(classifier, "three")

    assert late is None
    assert held.batches == [["one"], ["three"]]


async def test_a_deadline_already_past_asks_nobody(make: Make, held: HeldModel) -> None:
    found = await make().classify("one", asyncio.get_running_loop().time())

    assert found is None
    assert held.batches == []


async def test_over_the_bound_the_answer_is_unknown_at_once(make: Make, held: HeldModel) -> None:
    classifier = make(waiting_texts_max=2)
    first = await held_up(classifier, held, "one")
    waiting = [ask(classifier, text) for text in ("two", "three")]
    await asyncio.sleep(0)
    refused = await ask(classifier, "four")
    held.open.set()
    results = await asyncio.gather(first, *waiting)

    assert refused is None
    assert classifier.counts.overflowed == 1
    assert results == ["one", "two", "three"]


async def test_a_waiter_that_is_cancelled_leaves_its_place(make: Make, held: HeldModel) -> None:
    classifier = make(waiting_texts_max=1)
    first = await held_up(classifier, held, "one")
    gone = ask(classifier, "two")
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    third = ask(classifier, "three")
    await asyncio.sleep(0)
    held.open.set()

    assert gone.cancelled()
    assert list(await asyncio.gather(first, third)) == ["one", "three"]
    assert held.batches == [["one"], ["three"]]


async def test_cancelling_a_request_whose_batch_runs_disturbs_no_other(make: Make, held: HeldModel) -> None:
    classifier = make()
    first = await held_up(classifier, held, "one")
    first.cancel()
    second = ask(classifier, "two")
    await asyncio.sleep(0)
    held.open.set()

    assert [await second] == ["two"]


async def test_a_failing_model_means_unknown_and_the_next_batch_runs(make: Make, held: HeldModel) -> None:
    classifier = make()
    failed = await ask(classifier, "broken")
    fine = await ask(classifier, "two")

    assert failed is None
    assert [fine] == ["two"]
    assert classifier.counts.failed == 1


async def test_the_same_text_is_answered_from_the_cache(make: Make, held: HeldModel) -> None:
    classifier = make(cache_entries_max=1)
    for text in ("one", "one", "two", "one"):
        await ask(classifier, text)

    assert held.batches == [["one"], ["two"], ["one"]]
    assert classifier.counts.cached == 1


async def test_the_cache_holds_no_text(make: Make, held: HeldModel) -> None:
    classifier = make()
    secret = "a canary nobody may keep"
    held.classify = lambda texts: ["other" for _ in texts]  # type: ignore[method-assign]  # this double answers with the text
    await ask(classifier, secret)

    assert secret not in repr(vars(classifier))
    assert "canary" not in repr(classifier._cache)


async def test_closing_answers_the_waiting_and_twice_is_harmless(make: Make, held: HeldModel) -> None:
    classifier = make()
    first = await held_up(classifier, held, "one")
    waiting = ask(classifier, "two")
    await asyncio.sleep(0)
    classifier.close()
    classifier.close()
    held.open.set()

    assert await waiting is None
    assert [await first] == ["one"]
    assert await ask(classifier, "three") is None


async def test_the_ends_of_every_text_go_before_the_middle_of_any(make: Make, held: HeldModel) -> None:
    classifier = make(batch_texts_max=1)
    first = await held_up(classifier, held, "one")
    rest = [ask(classifier, "middle", rank=2), ask(classifier, "tail", rank=1), ask(classifier, "head")]
    await asyncio.sleep(0)
    held.open.set()
    await asyncio.gather(first, *rest)

    assert held.batches == [["one"], ["head"], ["tail"], ["middle"]]


async def test_who_is_in_a_hurry_goes_before_who_has_time(make: Make, held: HeldModel) -> None:
    classifier = make(batch_texts_max=1)
    running = await held_up(classifier, held, "running")
    asked = [ask(classifier, "patient", LONG_S, rank=2), ask(classifier, "urgent", LONG_S / 2, rank=2)]
    await asyncio.sleep(0)
    held.open.set()
    await asyncio.gather(running, *asked)

    assert held.batches == [["running"], ["urgent"], ["patient"]]


async def test_calls_that_have_time_cannot_keep_the_urgent_out(make: Make, held: HeldModel) -> None:
    classifier = make(batch_texts_max=1, waiting_texts_max=2)
    running = await held_up(classifier, held, "running")
    patient = [ask(classifier, f"patient {n}", LONG_S, rank=2) for n in range(3)]
    await asyncio.sleep(0)
    urgent = ask(classifier, "urgent", LONG_S / 2, rank=2)
    await asyncio.sleep(0)
    held.open.set()
    answers = await asyncio.gather(running, *patient, urgent)

    assert answers == ["running", "patient 0", None, None, "urgent"]
    assert classifier.counts.overflowed == 2


async def test_who_would_be_late_by_the_models_pace_is_told_at_once(make: Make, held: HeldModel) -> None:
    classifier = make()
    running = await held_up(classifier, held, "running")
    classifier.pace.character_s = LONG_S / 1000
    waiting = ask(classifier, "x" * 900)
    await asyncio.sleep(0)
    late = await ask(classifier, "y" * 950)
    first = ask(classifier, "z" * 200, LONG_S / 2)
    await asyncio.sleep(0)
    held.open.set()
    answers = await asyncio.gather(running, waiting, first)

    assert late is None
    assert list(answers) == ["running", "x" * 900, "z" * 200]  # before the one that waits, it is in time
    assert classifier.counts.declined == 1


async def test_the_pace_counts_what_is_before_in_line_and_no_more(make: Make, held: HeldModel) -> None:
    classifier = make()
    running = await held_up(classifier, held, "running")
    classifier.pace.character_s = LONG_S / 1000
    tails = [ask(classifier, f"{n}" * 600, 10 * LONG_S, rank=2) for n in range(3)]
    await asyncio.sleep(0)
    head = ask(classifier, "head" * 100, LONG_S, rank=0)
    tail = ask(classifier, "tail" * 100, LONG_S, rank=1)
    await asyncio.sleep(0)
    held.open.set()
    answers = await asyncio.gather(head, tail, running, *tails)

    assert None not in answers
    assert [waiting.cost for waiting in classifier._waiting] == [0, 0, 0]


async def test_a_short_text_passes_a_long_one_that_has_not_waited_long(make: Make, held: HeldModel) -> None:
    classifier = make(batch_texts_max=1)
    running = await held_up(classifier, held, "running")
    classifier.pace.character_s = 1e-3
    long, before = "l" * 1000, SHORT_FIRST * 1.0
    asked = [
        ask(classifier, long),
        ask(classifier, "late", LONG_S + before),
        ask(classifier, "soon", LONG_S + before / 2),
    ]
    await asyncio.sleep(0)
    held.open.set()
    await asyncio.gather(running, *asked)

    assert held.batches == [["running"], ["soon"], [long], ["late"]]


async def test_who_finds_nobody_at_work_is_never_turned_away(make: Make, held: HeldModel) -> None:
    classifier = make()
    classifier.pace.character_s = LONG_S

    assert await ask(classifier, "one", LONG_S) == "one"
    assert classifier.pace.character_s < LONG_S


async def test_a_slow_model_gets_smaller_batches(make: Make, held: HeldModel) -> None:
    classifier = make()
    running = await held_up(classifier, held, "running")
    classifier.pace.character_s = 1e-3
    rest = [ask(classifier, str(n) * 400) for n in range(6)]
    await asyncio.sleep(0)
    held.open.set()
    await asyncio.gather(running, *rest)

    assert all(sum(map(len, batch)) <= BATCH_CHARACTERS_MIN for batch in held.batches[1:2])


def test_the_pace_follows_what_is_measured() -> None:
    pace = Pace()
    assert (pace.takes(1000), pace.room(1)) == (0.0, BATCH_CHARACTERS_MIN)

    pace.learn(1000, 1.0)
    pace.learn(1000, 2.0)
    slower = pace.takes(1000)
    pace.learn(1000, 0.2)

    assert slower == pytest.approx(1.2)
    assert pace.takes(1000) == pytest.approx(0.7)
    assert pace.room(7.0) == pytest.approx(10_000, abs=1)
    assert pace.room(1e9) == BATCH_CHARACTERS_MAX


async def test_what_is_had_by_the_deadline_of_a_call_is_kept_and_the_rest_is_unknown(
    make: Make, held: HeldModel
) -> None:
    classifier = make(batch_texts_max=1)
    running = await held_up(classifier, held, "running")
    asyncio.get_running_loop().call_later(0.02, held.open.set)
    patient = await classifier.classify_all(["one", "two"], asyncio.get_running_loop().time() + LONG_S, [0, 1])
    held.open.clear()
    held.started.clear()
    classifier.pace.character_s = None  # nobody is turned away
    again = ask(classifier, "again")
    await begun(held)
    late = await classifier.classify_all(["one", "three", "two"], asyncio.get_running_loop().time() + 0.02, [0, 1, 2])
    waiting = [len(queue) for queue in classifier._waiting]
    held.open.set()
    await asyncio.gather(running, again)

    assert patient == ["one", "two"]
    assert late == ["one", None, "two"]
    assert (classifier.counts.late, waiting) == (1, [0, 0, 0])


async def test_a_call_with_many_texts_ends_in_the_turn_after_its_deadline(make: Make, held: HeldModel) -> None:
    classifier, loop = make(), asyncio.get_running_loop()
    held.open.clear()
    deadline = loop.time() + 0.02
    call = asyncio.create_task(classifier.classify_all([f"{n}" for n in range(9)], deadline, range(9)))
    await asyncio.sleep(0)
    alone = asyncio.all_tasks() == {call, asyncio.current_task()}
    turns = 0
    while loop.time() < deadline or not call.done():
        turns += loop.time() >= deadline
        await asyncio.sleep(0)
    held.open.set()

    assert alone  # no task a text, each of which would have a turn before the call has
    assert turns <= 3
