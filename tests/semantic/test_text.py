"""Which text of a conversation is classified."""

import pytest

from semantic.text import CONTEXT_CHARACTERS_MAX, SHORT_CHARACTERS, to_classify

LONG = "How do volcanoes form at the edge of two plates?"


def test_the_last_user_message_counts() -> None:
    messages = [
        ("system", "You are kind."),
        ("user", "Tell me about the Punic wars."),
        ("assistant", "..."),
        ("user", LONG),
    ]

    assert to_classify(messages) == LONG


def test_a_short_follow_up_brings_the_earlier_question() -> None:
    assert to_classify([("user", LONG), ("assistant", "Magma."), ("user", "and why?")]) == f"{LONG}\nand why?"


def test_context_is_bounded_and_its_end_is_kept() -> None:
    text = to_classify([("user", "x" * 10_000 + "end"), ("user", "and why?")])

    assert text is not None
    assert text.endswith("end\nand why?")
    assert len(text) <= CONTEXT_CHARACTERS_MAX + SHORT_CHARACTERS


@pytest.mark.parametrize(("length", "alone"), [(SHORT_CHARACTERS - 1, False), (SHORT_CHARACTERS, True)])
def test_a_turn_that_is_just_not_short_stands_alone(length: int, alone: bool) -> None:
    last = "y" * length

    assert to_classify([("user", LONG), ("user", last)]) == (last if alone else f"{LONG}\n{last}")


def test_of_several_earlier_turns_the_nearest_is_whole_and_the_next_gets_the_room_that_is_left() -> None:
    earlier = [("user", "a" * 400), ("user", "b" * 400), ("user", "c" * 200)]
    room = CONTEXT_CHARACTERS_MAX - 200

    assert to_classify([*earlier, ("user", "why?")]) == "b" * room + "\n" + "c" * 200 + "\nwhy?"
    assert to_classify([("user", "ab"), ("user", "c" * 599), ("user", "why?")]) == "b\n" + "c" * 599 + "\nwhy?"
    assert to_classify([*earlier[1:], ("user", "why?")]) == "b" * 400 + "\n" + "c" * 200 + "\nwhy?"


def test_system_and_assistant_words_never_count() -> None:
    assert to_classify([("system", LONG), ("assistant", LONG), ("user", "hi")]) == "hi"


def test_without_words_of_a_user_there_is_nothing_to_classify() -> None:
    assert to_classify([]) is None
    assert to_classify([("system", LONG), ("user", "  \n")]) is None
