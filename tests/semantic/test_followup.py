"""Which turns say nothing of their own."""

import pytest

from semantic.followup import CHARACTERS_MAX, is_follow_up


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("and why?", True),
        ("Why?", True),
        ("what about France?", True),
        ("Can you explain that in more detail?", True),
        ("ok, go on", True),
        ("为什么", True),
        ("¿por qué?", True),
        ("Warum ist das so?", True),
        ("Erklär das genauer", True),
        ("un autre exemple", True),
        ("¿puedes explícalo mejor?", True),
        ("E perché no?", True),
        ("e por quê?", True),
        ("kun je dat uitleg geven", False),
        ("waarom niet?", True),
        ("dlaczego?", True),
        ("peki ama neden?", True),
        ("Объясни подробнее", True),
        ("再详细一点", True),
        ("なぜですか", True),
        ("왜요?", True),
        ("quelle est la capitale de la France ?", False),
        ("Was ist Photosynthese?", False),
        ("¿cuánto es 2+2?", False),
        ("почему небо голубое?", False),
        ("der die das la", False),
        ("Explain photosynthesis", False),
        ("why is the sky blue?", False),
        ("What is 2+2?", False),
        ("define tort", False),
        ("", False),
        ("and " * 40, False),
        ("ok " * 26 + "ok", True),
        ("ok " * 26 + "why", False),
        ("?!", False),
        ("👍", False),
        ("and 2", False),
        ("what about 2?", False),
        ("what about Paris and Lyon?", False),
        ("tell me about Paris", False),
    ],
)
def test_what_says_nothing_of_its_own(turn: str, expected: bool) -> None:
    assert is_follow_up(turn) is expected


def test_the_longest_turn_that_may_be_one() -> None:
    longest = "ok " * 26 + "ok"

    assert len(longest) == CHARACTERS_MAX
