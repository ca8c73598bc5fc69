"""Scripts that the encoder does not know: an attack needs more there."""

import numpy as np
import pytest

from semantic.signals.engine import Engine
from semantic.signals.script import HEDGE, hedged, is_latin


@pytest.mark.parametrize("text", ["", "1 + 1?", "plain words", "Größe und Weiß", "què és això?", "π is a number"])
def test_latin_letters_and_none_are_read(text: str) -> None:
    assert is_latin(text)


@pytest.mark.parametrize(
    "text", ["秋になるとなぜ葉が黄色くなるのですか", "Почему осенью листья желтеют?", "hi 为什么秋天树叶会变黄"]
)
def test_other_letters_are_not(text: str) -> None:
    assert not is_latin(text)


def test_attacks_lose_so_much_of_their_odds() -> None:
    before = np.array([0.2, 0.1, 0.4, 0.3], np.float32)
    after = hedged(before, (2, 3), 1.0)
    odds = [(p[2] + p[3]) / (p[0] + p[1]) for p in (before, after)]

    assert after.sum() == pytest.approx(1)
    assert np.log(odds[0] / odds[1]) == pytest.approx(HEDGE, abs=1e-4)


def test_a_harmless_question_in_japanese_is_not_acted_upon(engine: Engine) -> None:
    found = engine.read(["白いシャツのコーヒーの染みを落とす方法を教えてください。"], "1")[0].heads["safety"]

    assert found.label not in ("injection", "jailbreak") or found.abstained
