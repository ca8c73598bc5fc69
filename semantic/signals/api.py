"""The seam between rules and models: what the semantic stage asks of whoever looks at texts.

Must stay true: `see` never raises and never outlasts its deadline; what could not be had in time is missing, never
guessed. Nothing that crosses the seam but `text` itself holds words of a prompt: spans are places, not words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]

DOMAIN = "domain"
SAFETY = "safety"
DIFFICULTY = "difficulty"
CODE = "code"
LANGUAGE = "language"
PII = "pii"
EMBEDDING = "embedding"
BENIGN = "benign"
"""The safety label that is no attack; the others are `jailbreak`, `injection` and `harmful`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one head says of one text.

    `label` is always the likeliest; `abstained` says that nobody should act on it, as the head's calibrated
    `threshold` (a probability, 0 to 1) was not reached or the text is none the head can read. `tier` is 0 for rules
    and static classifiers, 1 for an encoder.
    """

    label: str
    confidence: float
    probabilities: Mapping[str, float]
    abstained: bool = False
    threshold: float = 0.0
    tier: int = 1


@dataclass(frozen=True, slots=True)
class Span:
    """Something personal in the text: characters `start` to `end` (exclusive), its type in vSR's names, its score."""

    start: int
    end: int
    type: str
    score: float


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a text was read, in bytes of UTF-8."""

    scanned_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is known of one text: a head without an entry, `spans` None and `embedding` None are unknown.

    `embedding` has unit length, so that a dot product is a cosine. Without `spans_complete` there may be more of them.
    """

    answers: Mapping[str, Answer] = field(default_factory=dict)
    spans: tuple[Span, ...] | None = None
    embedding: Vector | None = None
    coverage: Coverage = Coverage()
    spans_complete: bool = True


NOTHING = Seen()


class Signals(Protocol):
    """Who looks at texts for the rules.

    `provides` names what can be asked for: each head with its labels, PII with its types, EMBEDDING with nothing.
    """

    @property
    def provides(self) -> Mapping[str, tuple[str, ...]]: ...

    async def see(self, text: str, wanted: frozenset[str], deadline: float) -> Seen:
        """As much of what is wanted as can be had before `deadline` (the event loop's clock)."""
        ...

    def prepare(self) -> None:
        """Load what takes long. Blocking; ConfigError when it cannot be, and what needs it stays unknown."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors | None:
        """One unit vector a text, for phrases of the configuration; None where nothing embeds.

        Blocking, and not for the event loop's thread.
        """
        ...

    def counts(self) -> object:
        """What happened so far, for operators: a dataclass or mapping of numbers."""
        ...

    def close(self) -> None:
        """Answer whoever waits with what there is, and let threads go. Closing twice is harmless."""
        ...
