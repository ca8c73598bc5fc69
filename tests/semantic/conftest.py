"""The shipped engine, loaded once, and models of our making that can be held and broken."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from semantic.categories import CATEGORIES
from semantic.signals.encoder import Encoded
from semantic.signals.engine import Engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The shipped model folder, both tiers."""
    return Engine()


class HeldModel:
    """Answers each text with itself; waits for `open` first; fails on the text `broken`."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.started = threading.Event()
        self.batches: list[list[str]] = []

    def classify(self, texts: Sequence[str]) -> list[str]:
        self.hold(texts)
        return list(texts)

    def hold(self, texts: Sequence[str]) -> None:
        self.batches.append(list(texts))
        self.started.set()
        assert self.open.wait(10)
        if "broken" in texts:
            raise RuntimeError("the model failed")


class HeldEncoder(HeldModel):
    """The same as an encoder: a text that is a category is of that category, any other text is math; always 0.9."""

    def classify(self, texts: Sequence[str]) -> list[Encoded]:  # type: ignore[override]  # another kind of answer
        self.hold(texts)
        return [encoded(text if text in CATEGORIES else "math") for text in texts]


def encoded(category: str = "math", attack: float = 0.02) -> Encoded:
    """An encoder's answer of this category, with this much of an injection."""
    domain = np.full(len(CATEGORIES), 0.1 / (len(CATEGORIES) - 1), np.float32)
    domain[CATEGORIES.index(category)] = 0.9
    even = np.array([0.5, 0.5], np.float32)
    safety = np.array([0.98 - attack, 0.01, attack, 0.01], np.float32)
    likely = {"domain": domain, "safety": safety, "difficulty": even, "reasoning": even, "code": even}
    return Encoded(likely, (), np.ones(4, np.float32), 10)


@pytest.fixture
def held() -> HeldModel:
    """A model whose batches wait until the test opens it; open at first."""
    return HeldModel()


@pytest.fixture
def held_encoder() -> HeldEncoder:
    """The same as an encoder."""
    return HeldEncoder()
