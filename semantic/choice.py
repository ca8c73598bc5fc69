"""What the semantic stage answers: values, with nothing of the prompt in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from semantic.cards import Abilities
from semantic.edits import Edit, HeaderEdit
from semantic.judges.known import Known
from semantic.rules import Facts, Match
from semantic.sessions import Keys
from semantic.signals.api import Answer, Coverage

NO_ABILITIES = Abilities()
Status = Literal["full", "degraded", "skipped"]
Refusal = Literal["guard_jailbreak", "guard_pii", "guard_unknown", "no_candidates"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may answer, by the name its servers know, and what its request becomes.

    `lowered` takes the place of `edits` where more than `waiting_max` requests wait at the endpoint that is picked.
    `margin` is the quality lost against the first candidate, as in `cards.margins`; `quality` is the card's score.
    """

    model: str
    edits: tuple[Edit, ...] = ()
    headers: tuple[HeaderEdit, ...] = ()
    lowered: tuple[Edit, ...] | None = None
    waiting_max: float | None = None
    margin: float = 0.0
    quality: float | None = None
    context_tokens: int | None = None
    abilities: Abilities = NO_ABILITIES


@dataclass(frozen=True, slots=True)
class Choice:
    """What the semantic stage says of a request. `reason` is one sentence and holds nothing of the prompt.

    `answer` is a message to answer with at once, `refusal` why the request must not go on; either leaves no candidate.
    `matched` are the signals that hold, kind and name, with their confidence; `unknown` those nobody could tell, and
    `denied` those that were looked at and do not hold. `heads` are the classifiers' answers, by the text they are about
    (`about`, `last`, `history`, `own`) and by head: what the decision can be made of again.
    """

    candidates: tuple[Candidate, ...] = ()
    decision: str | None = None
    category: str | None = None
    confidence: float | None = None
    probabilities: tuple[tuple[str, float], ...] = ()
    classification: Status = "skipped"
    reason: str = ""
    answer: str | None = None
    refusal: Refusal | None = None
    guard: str | None = None
    matched: Mapping[str, float] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    heads: Mapping[str, Mapping[str, Answer]] = field(default_factory=dict)
    never_degrade: bool = False
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def models(self) -> tuple[str, ...]:
        """The candidates' names, best first."""
        return tuple(candidate.model for candidate in self.candidates)

    @property
    def margins(self) -> tuple[float, ...]:
        """The candidates' margins, in the same order."""
        return tuple(candidate.margin for candidate in self.candidates)


@dataclass(frozen=True, slots=True)
class Weighed:
    """A choice and how it came about. Short-lived: `known` holds the request's text."""

    choice: Choice
    known: Known
    facts: Facts
    keys: Keys
    match: Match | None = None
