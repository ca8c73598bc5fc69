"""What is known of one request when its signals are judged, and what a judge is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from semantic.asked import Asked
from semantic.rules import Key, Verdict
from semantic.signals.api import NOTHING, Seen


@dataclass(frozen=True, slots=True)
class Category:
    """The category to act on, and how sure the classifier is of what it saw (which may be another one)."""

    name: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Known:
    """`last` is the user's last turn, `seen` what models see in it, with earlier turns where it is short.

    `seen_last` is what they see in the last turn alone, `seen_history` in all user turns. `category` is None where the
    classifier did not answer; `own` holds the answers of the users' own models by name.
    """

    asked: Asked
    last: str = ""
    seen: Seen = NOTHING
    seen_last: Seen = NOTHING
    seen_history: Seen = NOTHING
    category: Category | None = None
    own: Mapping[str, Seen] = field(default_factory=dict)


class Judge(Protocol):
    """One declared signal.

    `needs` is what it wants `Signals` to look for in what the last turn is about, `needs_last` in the last turn alone,
    `needs_history` in all user turns; `own` the users' own models it asks.
    """

    @property
    def key(self) -> Key: ...

    @property
    def needs(self) -> frozenset[str]: ...

    @property
    def needs_last(self) -> frozenset[str]: ...

    @property
    def needs_history(self) -> frozenset[str]: ...

    @property
    def own(self) -> frozenset[str]: ...

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """A verdict for each name that conditions may use."""
        ...


NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Declared:
    """What most judges have in common."""

    name: str

    @property
    def needs(self) -> frozenset[str]:
        """Nothing of a model."""
        return NONE

    @property
    def needs_last(self) -> frozenset[str]:
        """Nothing of the last turn alone."""
        return NONE

    @property
    def needs_history(self) -> frozenset[str]:
        """Nothing of earlier turns."""
        return NONE

    @property
    def own(self) -> frozenset[str]:
        """No model of the users' own."""
        return NONE
