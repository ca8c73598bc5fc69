"""From facts to a decision: rule trees in three-valued logic, and which matching decision wins.

Pure: values in, values out. A fact nobody could establish is unknown; NOT unknown is unknown, so a failed classifier
never makes a rule match.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

from semantic.plan import Algorithm, ModelRef, Plugins

Strategy = Literal["priority", "confidence"]
Key = tuple[str, str]
"""A signal's kind and name, as conditions refer to it."""


class Truth(Enum):
    """Whether a rule holds."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something holds, and how sure the signals behind it are (0 to 1; 0 when it does not hold).

    `scores` are the probabilities of the labels that a classifier gave, where conditions ask for one of them.
    """

    truth: Truth
    confidence: float = 0.0
    scores: Mapping[str, float] | None = None


NO = Verdict(Truth.NO)
UNKNOWN = Verdict(Truth.UNKNOWN)
Facts = Mapping[Key, Verdict]


def yes(confidence: float = 1.0) -> Verdict:
    """It holds."""
    return Verdict(Truth.YES, confidence)


@dataclass(frozen=True, slots=True)
class Holds:
    """Leaf: a declared signal matches."""

    kind: str
    name: str

    def judge(self, facts: Facts) -> Verdict:
        """As the facts say; unknown where they say nothing."""
        return facts.get((self.kind, self.name), UNKNOWN)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A predicate over a number."""

    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    def hold(self, value: float) -> bool:
        """Whether every bound that is set is kept."""
        return not (
            (self.gt is not None and value <= self.gt)
            or (self.gte is not None and value < self.gte)
            or (self.lt is not None and value >= self.lt)
            or (self.lte is not None and value > self.lte)
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """Leaf: a classifier's probability of one label lies within bounds."""

    kind: str
    name: str
    label: str
    bounds: Bounds

    def judge(self, facts: Facts) -> Verdict:
        """Unknown where the classifier did not answer or does not know the label."""
        scores = facts.get((self.kind, self.name), UNKNOWN).scores
        if scores is None or self.label not in scores:
            return UNKNOWN
        score = scores[self.label]
        return yes(score) if self.bounds.hold(score) else NO


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Leaf of a kind this version cannot compute (lenient mode keeps it): always unknown."""

    kind: str
    name: str

    def judge(self, facts: Facts) -> Verdict:
        """Unknown, whatever the facts."""
        return UNKNOWN


@dataclass(frozen=True, slots=True)
class Otherwise:
    """A rule whose unknown is settled by configuration (`on_error`)."""

    child: "Rule"
    truth: Truth

    def judge(self, facts: Facts) -> Verdict:
        """The child's verdict, or the settled one."""
        verdict = self.child.judge(facts)
        return verdict if verdict.truth is not Truth.UNKNOWN else Verdict(self.truth)


@dataclass(frozen=True, slots=True)
class Given:
    """A rule that counts only where another holds, whose confidence does not matter."""

    condition: "Rule"
    child: "Rule"

    def judge(self, facts: Facts) -> Verdict:
        """NO where the condition does not hold or the child does not; UNKNOWN before YES."""
        condition, child = self.condition.judge(facts), self.child.judge(facts)
        if Truth.NO in (condition.truth, child.truth):
            return NO
        return child if condition.truth is Truth.YES else UNKNOWN


@dataclass(frozen=True, slots=True)
class AnyOf:
    """OR: holds with its surest child."""

    children: tuple["Rule", ...]

    def judge(self, facts: Facts) -> Verdict:
        """One child that holds is enough, even beside an unknown one."""
        verdicts = [child.judge(facts) for child in self.children]
        holding = [v.confidence for v in verdicts if v.truth is Truth.YES]
        if holding:
            return yes(max(holding))
        return UNKNOWN if any(v.truth is Truth.UNKNOWN for v in verdicts) else NO


@dataclass(frozen=True, slots=True)
class AllOf:
    """AND: holds with the mean of its children; without children it always holds, with confidence 0 (a catch-all)."""

    children: tuple["Rule", ...] = ()

    def judge(self, facts: Facts) -> Verdict:
        """One child that does not hold is enough to fail, even beside an unknown one."""
        verdicts = [child.judge(facts) for child in self.children]
        if any(v.truth is Truth.NO for v in verdicts):
            return NO
        if any(v.truth is Truth.UNKNOWN for v in verdicts):
            return UNKNOWN
        return yes(sum(v.confidence for v in verdicts) / len(verdicts) if verdicts else 0.0)


@dataclass(frozen=True, slots=True)
class Not:
    """NOT: holds, with confidence 1, when its child is known not to."""

    child: "Rule"

    def judge(self, facts: Facts) -> Verdict:
        """Unknown stays unknown."""
        verdict = self.child.judge(facts)
        if verdict.truth is Truth.UNKNOWN:
            return UNKNOWN
        return NO if verdict.truth is Truth.YES else yes()


Rule = Holds | Scores | Unsupported | Otherwise | Given | AnyOf | AllOf | Not


def leaves(rule: Rule) -> Iterator[Key]:
    """Every signal that a rule asks for."""
    match rule:
        case Holds(kind, name) | Scores(kind, name, _, _) | Unsupported(kind, name):
            yield kind, name
        case Otherwise(child, _) | Not(child):
            yield from leaves(child)
        case Given(condition, child):
            yield from leaves(condition)
            yield from leaves(child)
        case AnyOf(children) | AllOf(children):
            for child in children:
                yield from leaves(child)


def scores_in(rule: Rule) -> Iterator[Scores]:
    """Every condition on a classifier's label."""
    match rule:
        case Scores():
            yield rule
        case Otherwise(child, _) | Not(child):
            yield from scores_in(child)
        case Given(condition, child):
            yield from scores_in(condition)
            yield from scores_in(child)
        case AnyOf(children) | AllOf(children):
            for child in children:
                yield from scores_in(child)


@dataclass(frozen=True, slots=True)
class Decision:
    """A named rule, the models it stands for, most wanted first, and what else is done to its requests.

    With `never_degrade` no weaker model may stand in for the first.
    """

    name: str
    rule: Rule
    refs: tuple[ModelRef, ...]
    priority: int = 0
    tier: int = 0
    description: str = ""
    algorithm: Algorithm = field(default_factory=Algorithm)
    plugins: Plugins = field(default_factory=Plugins)
    never_degrade: bool = False

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights of `models`, each model's first."""
        return tuple({ref.served: ref.weight for ref in reversed(self.refs)}[name] for name in self.models)

    @property
    def models(self) -> tuple[str, ...]:
        """The names that the request may be given, in order, each once."""
        return tuple(dict.fromkeys(ref.served for ref in self.refs))


@dataclass(frozen=True, slots=True)
class Match:
    """A decision whose rule holds."""

    decision: Decision
    confidence: float


def decide(decisions: Sequence[Decision], facts: Facts, strategy: Strategy = "priority") -> Match | None:
    """The winning decision, or None when no rule holds."""
    judged = [(decision, decision.rule.judge(facts)) for decision in decisions]
    matches = [Match(decision, verdict.confidence) for decision, verdict in judged if verdict.truth is Truth.YES]
    if not matches:
        return None
    tiered = any(decision.tier > 0 for decision in decisions)
    return min(matches, key=lambda match: _rank(match, strategy, tiered=tiered))


def settled(decisions: Sequence[Decision], facts: Facts, strategy: Strategy = "priority") -> bool:
    """Whether no fact that is still unknown could change which decision wins.

    An unknown fact may make a rule hold, or make one that holds surer; what it may change is settled only where it
    ranks below the winner whatever its confidence. The decisions are `bare`.
    """
    open_ones = [decision for decision in decisions if _open(decision.rule, facts)]
    if not open_ones:
        return True
    found = decide(decisions, facts, strategy)
    if found is None:
        return False
    tiered = any(decision.tier > 0 for decision in decisions)
    if not tiered and strategy == "confidence":
        return False
    won = _standing(found.decision, tiered=tiered)
    if any(_standing(one, tiered=tiered) < won for one in open_ones):
        return False
    equals = [d for d in decisions if _standing(d, tiered=tiered) == won and d.rule.judge(facts).truth is not Truth.NO]
    return len(equals) == 1 or not any(one in open_ones for one in equals)


def _bare(rule: Rule) -> Rule:
    """The rule without what settles its unknowns."""
    match rule:
        case Otherwise(child, _):
            return _bare(child)
        case Not(child):
            return Not(_bare(child))
        case Given(condition, child):
            return Given(_bare(condition), _bare(child))
        case AnyOf(children):
            return AnyOf(tuple(map(_bare, children)))
        case AllOf(children):
            return AllOf(tuple(map(_bare, children)))
    return rule


def bare(decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    """Without `on_error`: what is not asked yet is no error yet."""
    return tuple(replace(decision, rule=_bare(decision.rule)) for decision in decisions)


def _open(rule: Rule, facts: Facts) -> bool:
    """Whether facts that are unknown could change the rule's verdict or its confidence."""
    truth = rule.judge(facts).truth
    if truth is Truth.YES:
        return any(facts.get(key, UNKNOWN).truth is Truth.UNKNOWN for key in leaves(rule))
    return truth is Truth.UNKNOWN


def _standing(decision: Decision, *, tiered: bool) -> int:
    """What comes before confidence in the ranking; lower wins."""
    return decision.tier if tiered else -decision.priority


def _rank(match: Match, strategy: Strategy, *, tiered: bool) -> tuple[float, float, float, str]:
    """Lower wins. Tiers, where any are set, come before everything and make confidence count before priority."""
    decision, sure = match.decision, -match.confidence
    if tiered:
        return (decision.tier, sure, -decision.priority, decision.name)
    if strategy == "confidence":
        return (0, sure, -decision.priority, decision.name)
    return (0, -decision.priority, sure, decision.name)
