"""From tags to spans: whole words, joined parts, and the texts in which names are looked for."""

import numpy as np
import pytest

from semantic.signals.pii import PiiSettings, decode, has_capital_inside
from semantic.signals.values import PiiSpan

SETTINGS = PiiSettings(("O", "B-PERSON", "I-PERSON", "B-US_SSN", "I-US_SSN"), 0.5, frozenset(("US_SSN",)))


def tagged(text: str, tags: dict[str, int]) -> tuple[PiiSpan, ...]:
    """Spans of a text cut into pieces of two letters; `tags` are those of the pieces that have one."""
    pieces = [(n, min(n + 2, len(text))) for n in range(0, len(text), 2)]
    logits = np.zeros((len(pieces), len(SETTINGS.tags)), np.float32)
    logits[:, 0] = 3
    for n, (start, end) in enumerate(pieces):
        if text[start:end] in tags:
            logits[n, tags[text[start:end]]] = 9
    return decode(logits, pieces, text, SETTINGS)


def test_a_name_of_which_pieces_are_passed_over_is_whole() -> None:
    text = "I am Kowalczyk."

    assert [(text[s.start : s.end], s.type) for s in tagged(text, {" K": 1, "lc": 1})] == [(" Kowalczyk", "PERSON")]


def test_a_script_without_capitals_keeps_the_edges_of_the_tags() -> None:
    text = "我叫张伟今天天气"

    assert [text[s.start : s.end] for s in tagged(text, {"张伟": 1})] == ["张伟"]


def test_what_detectors_know_is_left_to_them() -> None:
    assert tagged("078051120", {"07": 3}) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("please write to Anna today", True),
        ("wir treffen uns in Österreich", True),
        ("What is a noun? It is a word.", False),
        ("HELLO WORLD", False),
        ("what is 2 + 2", False),
    ],
)
def test_a_capital_inside_a_sentence_may_be_a_name(text: str, expected: bool) -> None:
    assert has_capital_inside(text) is expected
