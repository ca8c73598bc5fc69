"""How texts go through the encoder together."""

import pytest

from semantic.signals.encoder import PASS_TOKENS_MAX
from semantic.signals.engine import Engine


def test_short_texts_go_together_and_long_ones_apart(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.encoder.prepare()
    encoder = engine.encoder._loaded
    assert encoder is not None
    passes: list[list[int]] = []
    run = encoder._run

    def noted(windows, texts):  # type: ignore[no-untyped-def]  # stands in for a method of one line
        passes.append([len(window.ids) for window in windows])
        return run(windows, texts)

    monkeypatch.setattr(encoder, "_run", noted)
    texts = [*("what is it", "why so") * 20, "a long story " * 80, "an even longer story " * 90]
    found = encoder.classify(texts)

    assert len(found) == len(texts)
    assert all(len(one) * max(one) <= PASS_TOKENS_MAX for one in passes)
    assert max(map(len, passes)) == 40
    assert passes == sorted(passes, key=max)
