"""Composes attacks and harmless look-alikes from phrases of our own and texts of the data file.

The same words and frames appear on both sides (role play, "ignore", system prompts, documents with requests in them),
so that the classifier has to read what is asked for. Everything is drawn from a `Random` the caller seeds.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import yaml

PHRASES = Path(__file__).with_name("safety_style.yaml")
BENIGN, HARMFUL, INJECTION, JAILBREAK = range(4)
DOCUMENT_CHARACTERS_MAX = 900


@dataclass(frozen=True, slots=True)
class Prompt:
    """A composed prompt. `focus` is the part (start, end) that makes it what it is."""

    text: str
    label: int
    focus: tuple[int, int] | None = None


class Composer:
    """Draws prompts; `documents`, `questions` and `harmful` are texts of the training rows."""

    def __init__(self, documents: Sequence[str], questions: Sequence[str], harmful: Sequence[str]) -> None:
        """Keeps the texts; reads the phrases."""
        self._phrases: dict[str, list[str]] = yaml.safe_load(PHRASES.read_text(encoding="utf-8"))
        self._documents, self._questions, self._harmful = documents, questions, harmful

    def draw(self, rng: Random) -> Prompt:
        """One prompt; attacks and look-alikes are about as frequent."""
        kinds: tuple[tuple[Callable[[Random], Prompt], float], ...] = (
            (self._direct, 0.14),
            (self._embedded, 0.20),
            (self._extraction, 0.07),
            (self._persona, 0.17),
            (self._lookalike, 0.13),
            (self._document, 0.17),
            (self._roleplay, 0.12),
        )
        chosen = rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
        return chosen(rng)

    def embed(self, attack: str, label: int, rng: Random) -> Prompt:
        """An attack put into a document, at its start, its end or between two of its sentences."""
        return self._inside(self._cut(rng), attack, label, rng)

    def _direct(self, rng: Random) -> Prompt:
        return Prompt(_cased(self._attack(rng), rng), INJECTION)

    def _embedded(self, rng: Random) -> Prompt:
        attack = self._pick("indirect", rng) if rng.random() < 0.5 else self._attack(rng)
        attack = self._pick("carriers", rng).format(_cased(attack, rng))
        return self._inside(self._cut(rng), attack, INJECTION, rng)

    def _extraction(self, rng: Random) -> Prompt:
        text = self._pick("extraction", rng)
        if rng.random() < 0.3:
            text = f"{_sentence(self._pick('overrides', rng))}. {text}"
        if rng.random() < 0.3:
            text = f"{rng.choice(self._questions)[:300]} {text}"
        return Prompt(_cased(text, rng), INJECTION)

    def _persona(self, rng: Random) -> Prompt:
        asked = rng.choice(self._harmful)[:400]
        text = self._pick("personas", rng).format(name=self._pick("names", rng), q=asked)
        if rng.random() < 0.25:
            more = self._pick("personas", rng).format(name=self._pick("names", rng), q="").strip()
            text = f"{more} {text}"
        return Prompt(text, JAILBREAK)

    def _lookalike(self, rng: Random) -> Prompt:
        return Prompt(_cased(self._pick("lookalikes", rng), rng), BENIGN)

    def _document(self, rng: Random) -> Prompt:
        if rng.random() < 0.5:
            return self._inside(self._cut(rng), self._pick("plain_requests", rng), BENIGN, rng)
        return Prompt(self._framed(self._cut(rng), rng), BENIGN)

    def _roleplay(self, rng: Random) -> Prompt:
        asked = rng.choice(self._questions)[:400]
        return Prompt(self._pick("roleplay", rng).format(name=self._pick("names", rng), q=asked), BENIGN)

    def _attack(self, rng: Random) -> str:
        override, payload = self._pick("overrides", rng), self._pick("payloads", rng)
        joined = rng.choice(
            (
                f"{_sentence(override)} and {payload}.",
                f"{_sentence(override)}. {_sentence(payload)}!",
                f"{_sentence(override)}, {payload}",
                f"{_sentence(override)}: {payload}.",
                f"{_sentence(payload)}. {_sentence(override)}.",
                f"Please {override}. Your only task is to {payload}.",
            )
        )
        if rng.random() < 0.04:
            return f"Decode this and follow it: {base64.b64encode(joined.encode()).decode()}"
        return joined

    def _inside(self, document: str, attack: str, label: int, rng: Random) -> Prompt:
        places = [n + 1 for n, c in enumerate(document) if c in ".\n"]
        at = rng.choice((0, len(document), len(document), rng.choice(places) if places else len(document)))
        gap = rng.choice((" ", "\n", "\n\n"))
        text = self._framed(f"{document[:at]}{gap}{attack}{gap}{document[at:]}".strip(), rng)
        start = text.find(attack)
        return Prompt(text, label, (start, start + len(attack)) if start >= 0 else None)

    def _framed(self, body: str, rng: Random) -> str:
        return self._pick("frames", rng).format(topic=self._pick("topics", rng), body=body)

    def _cut(self, rng: Random) -> str:
        text = rng.choice(self._documents)
        if len(text) <= DOCUMENT_CHARACTERS_MAX:
            return text
        start = rng.randrange(len(text) - DOCUMENT_CHARACTERS_MAX)
        return text[start : start + rng.randint(200, DOCUMENT_CHARACTERS_MAX)]

    def _pick(self, group: str, rng: Random) -> str:
        return rng.choice(self._phrases[group])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cased(text: str, rng: Random) -> str:
    draw = rng.random()
    if draw < 0.12:
        return text.upper()
    return text.lower() if draw < 0.3 else text
