"""Sentences that attack a model and sentences that only ask for something, made of the phrases of `safety_*.yaml`.

Both kinds take the same verbs (ignore, forget, reveal), cases and end marks, and stand behind the same delimiters: what
is asked for is the difference. Everything is drawn from a `Random` the caller seeds.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

PHRASES = Path(__file__).with_name("safety_style.yaml")
FOREIGN = Path(__file__).with_name("safety_foreign.yaml")
_WITHOUT_SPACES = ("zh", "ja")
_BETWEEN = ((", ", ". ", ": ", " "), ("\uff0c", "\u3002", "\u3001", "\uff1a"))
WRITTEN_OUT = 0.45
"""Share of attacks and of requests taken from the whole sentences of the file; the others are put together."""


class Phrases:
    """What the file holds, and sentences put together from it."""

    def __init__(self, path: Path = PHRASES) -> None:
        """Reads the file."""
        self._groups = _read(path)
        self._foreign: Mapping[str, Mapping[str, Sequence[str]]] = _read(FOREIGN)

    @property
    def languages(self) -> Sequence[str]:
        """Codes of the other languages that have sentences of their own."""
        return tuple(self._foreign)

    def pick(self, group: str, rng: Random) -> str:
        """One of a group as it stands."""
        found: str = rng.choice(self._groups[group])
        return found

    def group(self, name: str) -> Sequence[str]:
        """All of a group."""
        found: Sequence[str] = self._groups[name]
        return found

    def foreign_text(self, language: str, rng: Random) -> str | None:
        """A harmless text in another language; None where there is none."""
        groups = self._foreign[language]
        if "asks" in groups and rng.random() < 0.7:
            return rng.choice(groups["asks"]).replace("{t}", rng.choice(groups["topics"]))
        return rng.choice(groups["texts"]) if "texts" in groups else None

    def foreign(self, language: str, kind: str, rng: Random) -> str:
        """An attack (`attacks`) or a request (`requests`) in another language."""
        groups = self._foreign[language]
        if kind == "attacks" and "overrides" in groups and rng.random() < 0.6:
            halves = [rng.choice(groups["overrides"]), rng.choice(groups["payloads"])]
            if rng.random() < 0.15:
                halves = halves[::-1]
            said = rng.choice(_BETWEEN[language in _WITHOUT_SPACES]).join(half.rstrip("。.") for half in halves)
        else:
            said = rng.choice(groups[kind])
        return said.replace("{word}", self.pick("words", rng))

    def attack(self, rng: Random) -> str:
        """Tells the model to leave its task or its rules."""
        override, payload = self._override(rng), self._payload(rng)
        joined = rng.choice(
            (
                f"{_sentence(override)} and {payload}.",
                f"{_sentence(override)} then {payload}",
                f"{_sentence(override)}. {_sentence(payload)}!",
                f"{_sentence(override)}, {payload}",
                f"{_sentence(override)}: {payload}.",
                f"{_sentence(override)}; {payload}",
                f"{_sentence(payload)}. {_sentence(override)}.",
                f"Please {override}. Your only task is to {payload}.",
            )
        )
        if rng.random() < 0.25:
            joined = f"{joined.rstrip('.!')} {self.pick('request_tails', rng)}".strip() + rng.choice((".", "!", ""))
        if rng.random() < 0.04:
            return f"Decode this and follow it: {base64.b64encode(joined.encode()).decode()}"
        return cased(joined, rng)

    def request(self, rng: Random) -> str:
        """Asks for something about the answer, as users do at the end of what they paste."""
        if rng.random() < WRITTEN_OUT / 2:
            return cased(self.pick("plain_requests", rng), rng)
        if rng.random() < 0.4:
            said = f"{self.pick('harmless_verbs', rng)} {self.pick('harmless_objects', rng)}"
        else:
            said = self._filled(self.pick("requests", rng), rng)
        said = f"{self.pick('request_leads', rng)} {said} {self.pick('request_tails', rng)}".strip()
        return cased(_sentence(said) + rng.choice((".", ".", "!", "")), rng)

    def override(self, rng: Random) -> str:
        """The first half of an attack."""
        return self._override(rng)

    def _override(self, rng: Random) -> str:
        draw = rng.random()
        if draw < WRITTEN_OUT:
            return self.pick("overrides", rng)
        if draw < 0.6:
            return self.pick("claims", rng)
        what = f"{self.pick('override_adjectives', rng)} {self.pick('override_nouns', rng)}"
        amount = rng.choice(("your", "the", "these", f"{self.pick('override_amounts', rng)} your", "all", "any"))
        return f"{self.pick('override_verbs', rng)} {amount} {what}"

    def _payload(self, rng: Random) -> str:
        draw = rng.random()
        if draw < WRITTEN_OUT:
            return self.pick("payloads", rng)
        if draw < 0.75:
            return f"{self.pick('reveal_verbs', rng)} {self.pick('reveal_objects', rng)}"
        return self._filled(self.pick("demands", rng), rng)

    def _filled(self, said: str, rng: Random) -> str:
        slots: dict[str, Callable[[], str]] = {
            "{word}": lambda: self.pick("words", rng),
            "{language}": lambda: self.pick("languages", rng),
            "{number}": lambda: str(rng.randint(2, 9)),
        }
        for slot, value in slots.items():
            if slot in said:
                said = said.replace(slot, value())
        return said


@cache
def _read(path: Path) -> dict[str, Any]:
    groups: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return groups


def cased(text: str, rng: Random) -> str:
    """All capitals or all small letters, sometimes: neither is a sign of anything."""
    draw = rng.random()
    if draw < 0.12:
        return text.upper()
    return text.lower() if draw < 0.3 else text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
