"""Signals that a model's head decides: domain, language, jailbreak, PII, and classifiers of the users' own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from semantic.judges.known import NONE, Declared, Known
from semantic.judges.meaning import Phrases
from semantic.rules import NO, UNKNOWN, Key, Truth, Verdict, yes
from semantic.signals.api import DOMAIN, EMBEDDING, LANGUAGE, PII, SAFETY, Seen

ATTACKS = ("jailbreak", "injection")
GuardMethod = Literal["classifier", "contrastive", "hybrid"]


@dataclass(frozen=True, slots=True)
class Domain(Declared):
    """The prompt's category is one of these."""

    categories: frozenset[str]

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return ("domain", self.name)

    @property
    def needs(self) -> frozenset[str]:
        """The domain head."""
        return frozenset({DOMAIN})

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """Holds with the classifier's confidence."""
        category = known.category
        if category is None:
            yield self.key, UNKNOWN
        else:
            yield self.key, yes(category.confidence) if category.name in self.categories else NO


@dataclass(frozen=True, slots=True)
class Language(Declared):
    """The prompt is in this language, named by its ISO code."""

    threshold: float

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return ("language", self.name)

    @property
    def needs(self) -> frozenset[str]:
        """The language head."""
        return frozenset({LANGUAGE})

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """An abstaining head has not said which."""
        answer = known.seen.answers.get(LANGUAGE)
        if answer is None or answer.abstained:
            yield self.key, UNKNOWN
        else:
            score = answer.probabilities.get(self.name.lower(), 0.0)
            yield self.key, yes(score) if score >= self.threshold and score > 0 else NO


@dataclass(frozen=True, eq=False)
class Guard(Declared):
    """An attack on the model: by the safety head, by nearness to known attacks, or by either.

    Without a `threshold` the head's own operating point counts. `model` names a classifier of the user's own instead.
    """

    method: GuardMethod = "classifier"
    threshold: float | None = None
    history: bool = False
    attacks: Phrases = field(default_factory=lambda: Phrases(()))
    benign: Phrases = field(default_factory=lambda: Phrases(()))
    labels: tuple[str, ...] = ATTACKS
    model: str | None = None
    unknown: Truth = Truth.UNKNOWN

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return ("jailbreak", self.name)

    @property
    def needs_last(self) -> frozenset[str]:
        """Of the last turn."""
        return NONE if self.history else self._wanted

    @property
    def needs_history(self) -> frozenset[str]:
        """Of all turns."""
        return self._wanted if self.history else NONE

    @property
    def own(self) -> frozenset[str]:
        """The user's model."""
        return NONE if self.model is None or self.method == "contrastive" else frozenset({self.model})

    @property
    def _wanted(self) -> frozenset[str]:
        head = {SAFETY} if self.method != "contrastive" and self.model is None else set()
        return frozenset(head | ({EMBEDDING} if self.method != "classifier" else set()))

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """Either way of knowing is enough to match; both must say no to say no."""
        seen = known.seen_history if self.history else known.seen_last
        verdicts = []
        if self.method != "contrastive":
            verdicts.append(self._by_head(seen if self.model is None else known.own.get(self.model)))
        if self.method != "classifier":
            verdicts.append(self._by_nearness(seen))
        holding = [v.confidence for v in verdicts if v.truth is Truth.YES]
        if holding:
            yield self.key, yes(max(holding))
        elif any(v.truth is Truth.UNKNOWN for v in verdicts):
            yield self.key, Verdict(self.unknown)
        else:
            yield self.key, NO

    def _by_head(self, seen: Seen | None) -> Verdict:
        answer = None if seen is None else seen.answers.get(self.model or SAFETY)
        if answer is None:
            return UNKNOWN
        score = sum(answer.probabilities.get(label, 0.0) for label in self.labels)
        if self.threshold is not None:
            return yes(min(1.0, score)) if score >= self.threshold else NO
        return yes(min(1.0, score)) if answer.label in self.labels and not answer.abstained else NO

    def _by_nearness(self, seen: Seen) -> Verdict:
        """Nearer to an attack than to what is harmless (vSR's contrast), and near enough to it."""
        if seen.embedding is None or self.attacks.vectors is None:
            return UNKNOWN
        near = float((self.attacks.vectors @ seen.embedding).max())
        far = 0.0 if self.benign.vectors is None else float((self.benign.vectors @ seen.embedding).max())
        return yes(min(1.0, near)) if near > far and near >= (self.threshold or 0.0) else NO


@dataclass(frozen=True, slots=True)
class Personal(Declared):
    """Something personal in the text, of a type that is not allowed."""

    allowed: frozenset[str] = frozenset()
    threshold: float = 0.0
    history: bool = False
    model: str | None = None

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return ("pii", self.name)

    @property
    def needs_last(self) -> frozenset[str]:
        """Of the last turn."""
        return NONE if self.history or self.model else frozenset({PII})

    @property
    def needs_history(self) -> frozenset[str]:
        """Of all turns."""
        return frozenset({PII}) if self.history and not self.model else NONE

    @property
    def own(self) -> frozenset[str]:
        """The user's model."""
        return NONE if self.model is None else frozenset({self.model})

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """Holds with the surest find's score. That only allowed types were found says nothing of what was not read."""
        seen = known.seen_history if self.history else known.seen_last
        seen = seen if self.model is None else known.own.get(self.model, Seen())
        if seen.spans is None:
            yield self.key, UNKNOWN
            return
        found = [s.score for s in seen.spans if s.type not in self.allowed and s.score >= self.threshold]
        yield self.key, yes(max(found)) if found else NO if seen.spans_complete else UNKNOWN


@dataclass(frozen=True, slots=True)
class OwnClassifier(Declared):
    """A model of the user's own. As a bare condition it holds where `positive` is its label and sure enough.

    `kind` is the word that conditions use: `classifier`, or `fact_check` with the label's vSR name.
    """

    model: str
    kind: str = "classifier"
    positive: str | None = None
    threshold: float = 0.5

    @property
    def key(self) -> Key:
        """As conditions name it."""
        return (self.kind, self.name)

    @property
    def own(self) -> frozenset[str]:
        """The model."""
        return frozenset({self.model})

    def judge(self, known: Known) -> Iterator[tuple[Key, Verdict]]:
        """With the probabilities of all labels, for conditions that ask for one of them."""
        answer = known.own.get(self.model, Seen()).answers.get(self.model)
        if answer is None:
            yield self.key, UNKNOWN
            return
        label = self.positive or answer.label
        score = answer.probabilities.get(label, 0.0)
        truth = Truth.YES if score >= self.threshold else Truth.NO
        yield self.key, Verdict(truth, score if truth is Truth.YES else 0.0, answer.probabilities)
