"""Long instructions to play a part, put together from `safety_rules.yaml`: with the limits taken away, or harmless.

Openings, ends and the form are the same on both sides. Everything is drawn from a `Random` the caller seeds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import yaml

RULES = Path(__file__).with_name("safety_rules.yaml")
OPEN_END = 0.25
"""Share that ends without a question of its own, as such texts do where the question comes later."""


class Parts:
    """What the file holds, and instructions put together from it."""

    def __init__(self, path: Path = RULES) -> None:
        """Reads the file."""
        self._groups: Mapping[str, Sequence[str]] = yaml.safe_load(path.read_text(encoding="utf-8"))

    def draw(self, name: str, question: str, rng: Random, *, free: bool) -> str:
        """A part for `name` to play and a question; `free` of limits or not."""
        kind = "free" if free else "kept"
        opening = self._groups["openings"][rng.randrange(len(self._groups["openings"]))]
        part = rng.choice(self._groups[f"parts_{kind}"])
        rules = rng.sample(self._groups[f"rules_{kind}"], rng.randint(2 if free else 1, 7))
        if free and rng.random() < 0.4:
            rules += rng.sample(self._groups["rules_kept"], rng.randint(1, 3))
            rng.shuffle(rules)
        end = rng.choice(self._groups["ends_open" if rng.random() < OPEN_END else "ends"])
        gap = rng.choice((" ", " ", "\n", "\n- ", "\n\n"))
        text = gap.join([f"{opening} {{name}} is {part}.", *rules]) + rng.choice((" ", "\n", "\n\n")) + end
        return text.replace("{name}", name).replace("{q}", question)
