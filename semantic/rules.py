"""From signals to a decision: rule trees in three-valued logic, and which matching decision wins.

Pure: values in, values out. A signal nobody could compute is unknown; NOT unknown is unknown, so a failed classifier
never makes a rule match.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

FALLBACK_CATEGORY = "other"
Strategy = Literal["priority", "confidence"]


class Truth(Enum):
    """Whether a rule holds."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rule holds, and how sure the signals behind it are (0 to 1; 0 when it does not hold)."""

    truth: Truth
    confidence: float = 0.0


NO = Verdict(Truth.NO)
UNKNOWN = Verdict(Truth.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of a request. `category` is None when the classifier did not answer."""

    category: str | None
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Domain:
    """Leaf: the prompt's category is one of these."""

    name: str
    categories: frozenset[str]

    def judge(self, signals: Signals) -> Verdict:
        """Holds with the classifier's confidence."""
        if signals.category is None:
            return UNKNOWN
        return Verdict(Truth.YES, signals.confidence) if signals.category in self.categories else NO


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Leaf of a kind this version cannot compute (lenient mode keeps it): always unknown."""

    kind: str
    name: str

    def judge(self, signals: Signals) -> Verdict:
        """Unknown, whatever the signals."""
        return UNKNOWN


@dataclass(frozen=True, slots=True)
class AnyOf:
    """OR: holds with its surest child."""

    children: tuple["Rule", ...]

    def judge(self, signals: Signals) -> Verdict:
        """One child that holds is enough, even beside an unknown one."""
        verdicts = [child.judge(signals) for child in self.children]
        holding = [v.confidence for v in verdicts if v.truth is Truth.YES]
        if holding:
            return Verdict(Truth.YES, max(holding))
        return UNKNOWN if any(v.truth is Truth.UNKNOWN for v in verdicts) else NO


@dataclass(frozen=True, slots=True)
class AllOf:
    """AND: holds with the mean of its children; without children it always holds, with confidence 0 (a catch-all)."""

    children: tuple["Rule", ...] = ()

    def judge(self, signals: Signals) -> Verdict:
        """One child that does not hold is enough to fail, even beside an unknown one."""
        verdicts = [child.judge(signals) for child in self.children]
        if any(v.truth is Truth.NO for v in verdicts):
            return NO
        if any(v.truth is Truth.UNKNOWN for v in verdicts):
            return UNKNOWN
        return Verdict(Truth.YES, sum(v.confidence for v in verdicts) / len(verdicts) if verdicts else 0.0)


@dataclass(frozen=True, slots=True)
class Not:
    """NOT: holds, with confidence 1, when its child is known not to."""

    child: "Rule"

    def judge(self, signals: Signals) -> Verdict:
        """Unknown stays unknown."""
        verdict = self.child.judge(signals)
        if verdict.truth is Truth.UNKNOWN:
            return UNKNOWN
        return NO if verdict.truth is Truth.YES else Verdict(Truth.YES, 1.0)


Rule = Domain | Unsupported | AnyOf | AllOf | Not


@dataclass(frozen=True, slots=True)
class Decision:
    """A named rule and the models it stands for, most wanted first, with their weights.

    With `never_degrade` no weaker model may stand in for the first.
    """

    name: str
    rule: Rule
    models: tuple[str, ...]
    priority: int = 0
    tier: int = 0
    description: str = ""
    weights: tuple[float, ...] = ()
    never_degrade: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """A decision whose rule holds."""

    decision: Decision
    confidence: float


def decide(decisions: Sequence[Decision], signals: Signals, strategy: Strategy = "priority") -> Match | None:
    """The winning decision, or None when no rule holds."""
    judged = [(decision, decision.rule.judge(signals)) for decision in decisions]
    matches = [Match(decision, verdict.confidence) for decision, verdict in judged if verdict.truth is Truth.YES]
    if not matches:
        return None
    tiered = any(decision.tier > 0 for decision in decisions)
    return min(matches, key=lambda match: _rank(match, strategy, tiered=tiered))


def _rank(match: Match, strategy: Strategy, *, tiered: bool) -> tuple[float, float, float, str]:
    """Lower wins. Tiers, where any are set, come before everything and make confidence count before priority."""
    decision, sure = match.decision, -match.confidence
    if tiered:
        return (decision.tier, sure, -decision.priority, decision.name)
    if strategy == "confidence":
        return (0, sure, -decision.priority, decision.name)
    return (0, -decision.priority, sure, decision.name)


def settle(category: str, confidence: float, threshold: float) -> Signals:
    """The category to act on: what the classifier says, or the fallback category when it is not sure enough."""
    return Signals(category if confidence >= threshold else FALLBACK_CATEGORY, confidence)
