"""Looking at a request: which models are asked about which of its texts, and the facts that follow.

Must stay true: nothing is asked of a model that no rule or guard waits for, and nothing past the deadline.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, TypeVar

import numpy as np

from semantic.judges.known import Category, Judge, Known
from semantic.own.models import OwnModels
from semantic.rules import NO, Facts, Key, Truth, Verdict
from semantic.signals.api import DOMAIN, NOTHING, Answer, Seen, Signals
from semantic.text import to_classify

GUARDS = ("jailbreak", "pii")
ABOUT, LAST, HISTORY, OWN = "about", "last", "history", "own"
T = TypeVar("T")


@dataclass(slots=True)
class Wanted:
    """What judges want to be known, by text."""

    about: frozenset[str] = frozenset()
    last: frozenset[str] = frozenset()
    history: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    own_last: frozenset[str] = frozenset()

    @classmethod
    def by(cls, judges: Iterable[Judge]) -> "Wanted":
        """All that these judges want."""
        wanted = cls()
        for judge in judges:
            wanted.about |= judge.needs
            wanted.last |= judge.needs_last
            wanted.history |= judge.needs_history
            if judge.key[0] in GUARDS:
                wanted.own_last |= judge.own
            else:
                wanted.own |= judge.own
        return wanted

    def __bool__(self) -> bool:
        """Whether any model is to be asked."""
        return bool(self.about or self.last or self.history or self.own or self.own_last)


class Watcher:
    """Asks the shipped models and the users' own, each text once."""

    def __init__(self, signals: Signals, own: OwnModels, own_domain: str | None) -> None:
        """`own_domain` names the user's model that stands in for the domain head."""
        self._signals = signals
        self._own = own
        self._own_domain = own_domain

    async def look(self, known: Known, wanted: Wanted, deadline: float, *, alone: bool = False) -> Known:
        """What is known, with all that models can say before the deadline.

        `alone` looks at the last turn without earlier ones, however short it is.
        """
        asked, last = known.asked, known.last
        if not last or not wanted:
            return known
        about = last if alone else to_classify(asked.turns) or last
        history = "\n".join(asked.said)
        if self._own_domain is not None and DOMAIN in wanted.about:
            wanted = replace(wanted, about=wanted.about - {DOMAIN}, own=wanted.own | {self._own_domain})
        texts: dict[str, frozenset[str]] = {}
        for text, names in ((about, wanted.about), (last, wanted.last), (history, wanted.history)):
            if names:
                texts[text] = texts.get(text, frozenset()) | names
        owns: dict[str, frozenset[str]] = {}
        for text, names in ((about, wanted.own), (last, wanted.own_last)):
            if names:
                owns[text] = owns.get(text, frozenset()) | names
        looks = await _all([self._signals.see(text, names, deadline) for text, names in texts.items()])
        seen = {text: sound(look) for text, look in zip(texts, looks, strict=True)}
        own = await _all([self._own.see(sorted(n), t, deadline) for t, n in owns.items()])
        return replace(
            known,
            seen=seen.get(about, NOTHING) if wanted.about else NOTHING,
            seen_last=seen.get(last, NOTHING) if wanted.last else NOTHING,
            seen_history=seen.get(history, NOTHING) if wanted.history else NOTHING,
            own={name: sound(found) for one in own for name, found in one.items()},
        )

    def domain(self, known: Known) -> Answer | None:
        """The category, by the user's model or the shipped head."""
        if self._own_domain is None:
            return known.seen.answers.get(DOMAIN)
        return known.own.get(self._own_domain, Seen()).answers.get(self._own_domain)


def sound(seen: Seen) -> Seen:
    """Without what is no number: a model that answers so has not answered, and must not pass for a no."""
    good = {name: answer for name, answer in seen.answers.items() if all(map(isfinite, answer.probabilities.values()))}
    vector = seen.embedding
    kept = vector if vector is None or bool(np.isfinite(vector).all()) else None
    return seen if len(good) == len(seen.answers) and kept is vector else replace(seen, answers=good, embedding=kept)


def facts_of(judges: Iterable[Judge], known: Known) -> dict[Key, Verdict]:
    """What the judges say. A guard has nothing to object to where the user has written nothing."""
    facts: dict[Key, Verdict] = {}
    for judge in judges:
        if judge.key[0] in GUARDS and not known.last and known.asked.legible:
            facts[judge.key] = NO
        else:
            facts.update(judge.judge(known))
    return facts


def matched(facts: Facts) -> dict[str, float]:
    """The signals that hold, `kind:name`, with their confidence."""
    return {f"{kind}:{name}": round(v.confidence, 4) for (kind, name), v in facts.items() if v.truth is Truth.YES}


def unknown(facts: Facts) -> tuple[str, ...]:
    """The signals nobody could tell."""
    return tuple(f"{kind}:{name}" for (kind, name), v in facts.items() if v.truth is Truth.UNKNOWN)


def denied(facts: Facts) -> tuple[str, ...]:
    """The signals that were looked at and do not hold."""
    return tuple(f"{kind}:{name}" for (kind, name), v in facts.items() if v.truth is Truth.NO)


def heads(known: Known) -> dict[str, Mapping[str, Answer]]:
    """The answers there are, by the text they are about; not copied."""
    looks = ((ABOUT, known.seen), (LAST, known.seen_last), (HISTORY, known.seen_history))
    found: dict[str, Mapping[str, Answer]] = {where: seen.answers for where, seen in looks if seen.answers}
    if known.own:
        found[OWN] = {name: answer for name, seen in known.own.items() if (answer := seen.answers.get(name))}
    return found


def settle(answer: Answer, threshold: float | None, fallback: str) -> Category:
    """The category to act on: what the classifier says, or the fallback where it is not sure enough.

    A configured threshold takes the place of the head's own; what the head abstains from for another reason than its
    threshold (it cannot read the text) it abstains from under any.
    """
    least = answer.threshold if threshold is None else threshold
    unreadable = answer.abstained and answer.confidence >= answer.threshold
    sure = answer.confidence >= least and not unreadable
    return Category(answer.label if sure else fallback, answer.confidence)


def blended(answer: Answer, prior: Answer, weight: float) -> Answer:
    """The two answers' mixture: what the conversation was about, where the last turn alone is not clear."""
    labels = {*answer.probabilities, *prior.probabilities}
    mixed = {
        label: (1 - weight) * answer.probabilities.get(label, 0.0) + weight * prior.probabilities.get(label, 0.0)
        for label in labels
    }
    label = max(sorted(mixed), key=mixed.__getitem__)
    return Answer(label, mixed[label], mixed, threshold=answer.threshold, tier=answer.tier)


async def _all(asks: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """One after another where there is one, at the same time where there are several."""
    return [await asks[0]] if len(asks) == 1 else list(await asyncio.gather(*asks))
