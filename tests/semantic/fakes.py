"""Signals of our making: they say what the words of a text tell them to, and can be slow, silent or broken."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from semantic.asked import Asked
from semantic.categories import CATEGORIES
from semantic.signals.api import (
    DIFFICULTY,
    DOMAIN,
    EMBEDDING,
    LANGUAGE,
    NOTHING,
    PII,
    SAFETY,
    Answer,
    Coverage,
    Seen,
    Span,
    Vector,
    Vectors,
)

EVERYTHING: Mapping[str, tuple[str, ...]] = {
    DOMAIN: CATEGORIES,
    SAFETY: ("benign", "harmful", "injection", "jailbreak"),
    DIFFICULTY: ("easy", "hard"),
    LANGUAGE: ("de", "en", "es", "zh"),
    PII: ("EMAIL_ADDRESS", "PERSON"),
    EMBEDDING: (),
}
WORDS = ("install", "password", "proof", "steps", "quick", "attack", "policy", "cat")
LONG_S = 30.0
UNCLEAR = Answer("other", 0.3, {"other": 0.3, "math": 0.25, "law": 0.25, "history": 0.2}, True, 0.5)


def answer(label: str, confidence: float = 0.9, *, threshold: float = 0.5, rest: str = "other") -> Answer:
    """One label, and the rest for another."""
    likely = {label: confidence, rest: 1 - confidence} if label != rest else {label: confidence}
    return Answer(label, confidence, likely, abstained=confidence < threshold, threshold=threshold)


def vector(text: str) -> Vector:
    """Which of the WORDS are in a text, as a unit vector; a text with none of them has one of its own."""
    found = np.array([*(float(word in text) for word in WORDS), 0.0], dtype=np.float32)
    if not found.any():
        found[-1] = 1.0
    return np.asarray(found / np.linalg.norm(found), dtype=np.float32)


@dataclass
class Told:
    """A category is the first of the CATEGORIES among the words, with `confidence`; `asked` notes what was wanted."""

    provides: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EVERYTHING)
    confidence: float = 0.9
    silent: frozenset[str] = frozenset()
    slow: bool = False
    asked: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    closed: bool = False

    async def see(self, text: str, wanted: frozenset[str], deadline: float) -> Seen:
        self.asked.append((text, wanted))
        if self.slow:
            await asyncio.sleep(max(0.0, deadline - asyncio.get_running_loop().time()))
            return NOTHING
        told = wanted - self.silent
        answers = {}
        if DOMAIN in told:
            label = next((c for c in CATEGORIES if c in text), None)
            answers[DOMAIN] = answer(label, self.confidence) if label else UNCLEAR
        if SAFETY in told:
            attacks = "jailbreak" in text
            answers[SAFETY] = answer("jailbreak" if attacks else "benign", rest="benign" if attacks else "jailbreak")
        if LANGUAGE in told:
            answers[LANGUAGE] = answer("es" if "hola" in text else "en", rest="de")
        at = text.find("a@b.c")
        spans = (Span(at, at + 5, "EMAIL_ADDRESS", 1.0),) if at >= 0 else ()
        size = len(text.encode())
        return Seen(
            answers,
            spans if PII in told else None,
            vector(text) if EMBEDDING in told else None,
            Coverage(size, size),
        )

    def prepare(self) -> None:
        """Nothing takes long here."""

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        return np.stack([vector(text) for text in texts]) if EMBEDDING in self.provides else None

    def counts(self) -> object:
        return {"asked": len(self.asked)}

    def close(self) -> None:
        self.closed = True


def chat(*said: str, model: str = "auto", **body: object) -> Asked:
    """A chat of user turns, each answered but the last; `body` holds other members."""
    turns: list[tuple[str, str]] = []
    for text in said:
        turns += [("user", text), ("assistant", "Well.")]
    turns = turns[:-1]
    messages = [{"role": role, "content": text} for role, text in turns]
    return Asked(turns=turns, model=model, body={"model": model, "messages": messages, **body})
