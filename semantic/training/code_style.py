"""Requests about code the way people ask them, and everyday ones of the same form: neither the form nor a verb tells.

Composed of the phrases of `code_style.yaml`; everything is drawn from a `Random` the caller seeds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import yaml

PHRASES = Path(__file__).with_name("code_style.yaml")
CHAT, CODE = range(2)
_EVERYDAY = {
    "tool": "everyday_tools",
    "verb": "everyday_verbs",
    "thing": "everyday_things",
    "problem": "everyday_problems",
}
_CODE = {"tool": "tools", "verb": "verbs", "thing": "things", "problem": "problems"}
_NO_PROGRAM = (
    "code",
    "program",
    "script",
    "class",
    "algorithm",
    "snippet",
    "bug",
    "query",
    "function",
    "equivalent",
    "test",
)


class Requests:
    """What the file holds, and requests put together from it."""

    def __init__(self, path: Path = PHRASES) -> None:
        """Reads the file."""
        self._groups: Mapping[str, Sequence[str]] = yaml.safe_load(path.read_text(encoding="utf-8"))

    def draw(self, rng: Random) -> tuple[str, int]:
        """(text, CHAT or CODE), the one as likely as the other."""
        label = CODE if rng.random() < 0.5 else CHAT
        form = self._pick("questions" if rng.random() < 0.65 else "requests", rng)
        while label == CHAT and any(word in form for word in _NO_PROGRAM):
            form = self._pick("questions", rng)
        groups = _CODE if label == CODE else _EVERYDAY
        values = {name + number: self._pick(group, rng) for name, group in groups.items() for number in ("", "2")}
        end = self._pick("ends", rng) if label == CODE else ""
        text = " ".join(form.format(**values, end=end).split()).replace(" ?", "?").replace(" .", ".")
        return (text[:1].upper() + text[1:] if rng.random() < 0.7 else text), label

    def _pick(self, group: str, rng: Random) -> str:
        return str(rng.choice(self._groups[group]))
