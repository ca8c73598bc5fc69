"""The shipped model, loaded once, and a model of our making that can be held and broken."""

import threading
from collections.abc import Sequence

import pytest

from semantic.onnx import Classification, DomainModel


@pytest.fixture(scope="session")
def model() -> DomainModel:
    """The shipped model."""
    return DomainModel()


class HeldModel:
    """Answers each text with itself as the category; waits for `open` first; fails on the text `broken`."""

    max_tokens = 256

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.started = threading.Event()
        self.batches: list[list[str]] = []

    def classify(self, texts: Sequence[str]) -> list[Classification]:
        self.batches.append(list(texts))
        self.started.set()
        assert self.open.wait(10)
        if "broken" in texts:
            raise RuntimeError("the model failed")
        return [Classification(text, 0.9, {text: 0.9, "other": 0.1}, len(text)) for text in texts]


@pytest.fixture
def held() -> HeldModel:
    """A model whose batches wait until the test opens it; open at first."""
    return HeldModel()
