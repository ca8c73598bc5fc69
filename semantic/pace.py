"""How fast a model reads, learned from what it has read: what to give it at once, and how long the rest will take."""

from dataclasses import dataclass

BATCH_CHARACTERS_MAX = 12_000
"""Texts times the longest of them, at most, however fast the model is."""
BATCH_CHARACTERS_MIN = 1_000
"""As many go together however slow it is: about one piece of a long text."""
FASTER, SLOWER = 0.5, 0.2
"""How much of a difference to what was believed of the pace is believed of a faster, and of a slower batch."""


@dataclass(slots=True)
class Pace:
    """How many seconds a character takes, by the last batches; None before the first.

    It follows a faster one at once halfway, a slower one by a fifth: a batch that was slow by chance turns nobody away
    for long, and a prediction that is too good costs no more than a wait until the deadline.
    """

    character_s: float | None = None

    def learn(self, characters: int, seconds: float) -> None:
        """Of a batch that ran."""
        found = seconds / characters
        if self.character_s is None:
            self.character_s = found
        else:
            self.character_s += (found - self.character_s) * (FASTER if found < self.character_s else SLOWER)

    def takes(self, characters: int) -> float:
        """Seconds for so many; none where nothing is known."""
        return characters * (self.character_s or 0.0)

    def room(self, seconds: float) -> int:
        """How many fit into so many seconds, within the bounds of a batch."""
        fit = BATCH_CHARACTERS_MIN if self.character_s is None else seconds / max(self.character_s, 1e-9)
        return int(min(max(fit, BATCH_CHARACTERS_MIN), BATCH_CHARACTERS_MAX))
