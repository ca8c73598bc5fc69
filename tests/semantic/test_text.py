"""Which text of a conversation is classified."""

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


def test_system_and_assistant_words_never_count() -> None:
    assert to_classify([("system", LONG), ("assistant", LONG), ("user", "hi")]) == "hi"


def test_without_words_of_a_user_there_is_nothing_to_classify() -> None:
    assert to_classify([]) is None
    assert to_classify([("system", LONG), ("user", "  \n")]) is None
