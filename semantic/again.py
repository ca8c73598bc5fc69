"""A decision made again, by another configuration, of what was recorded of a request: its signals and not its text.

Pure. A signal of the same kind and name is taken to mean what it meant. What was not judged then is missing, and where
it could change the decision there is none: nothing is guessed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from semantic.asked import Asked
from semantic.choice import Choice
from semantic.config import Plan
from semantic.guards import verdict_of
from semantic.judges.heads import Domain, Guard, Language, OwnClassifier
from semantic.judges.known import Category, Judge, Known
from semantic.judges.shape import Context
from semantic.router import SemanticRouter
from semantic.rules import Facts, Key, Verdict, bare, decide, leaves, settled
from semantic.select import unmeasured
from semantic.signals.api import LANGUAGE, SAFETY, Answer, Coverage, Seen, Vectors
from semantic.signals.shipped import PROVIDES
from semantic.watch import ABOUT, HISTORY, LAST, OWN, settle

SOME_TEXT = "(recorded)"


@dataclass(frozen=True, slots=True)
class Recorded:
    """`facts` are the signals that were judged, `heads` the answers by text and head, `category` what was acted on."""

    asked: Asked
    facts: Facts
    heads: Mapping[str, Mapping[str, Answer]] = field(default_factory=dict)
    category: Category | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """The choice, or the signals for want of which there is none."""

    choice: Choice | None
    lacking: tuple[str, ...] = ()


class Silent:
    """Signals of which nothing is asked: what was seen is recorded."""

    provides: Mapping[str, tuple[str, ...]] = PROVIDES

    async def see(self, text: str, wanted: frozenset[str], deadline: float) -> Seen:
        """Nothing."""
        return Seen()

    def prepare(self) -> None:
        """Nothing takes long here."""

    def embed(self, texts: object) -> Vectors | None:
        """No vectors."""
        return None

    def counts(self) -> Mapping[str, int]:
        """None."""
        return {}

    def close(self) -> None:
        """Holds nothing."""


def choose_again(router: SemanticRouter, recorded: Recorded) -> Again:
    """For an alias: guards, decision and candidates; what the load of the moment said of their order is not known."""
    config, asked = router.config, recorded.asked
    plan = config.plans.get(asked.model or "", config.plan)
    known = _known(router, recorded)
    facts = _facts((*plan.judges, *config.plan.judges), known, recorded.facts)
    lacking = _lacking(plan, facts) + _unguarded(router, facts)
    if lacking:
        return Again(None, lacking)
    refusal, guard = verdict_of(config.extras.guards, facts, asked)
    match = decide(plan.decisions, facts, plan.strategy)
    choice = Choice(
        decision=match.decision.name if match else None,
        category=known.category.name if known.category else None,
        never_degrade=match is not None and match.decision.never_degrade,
        refusal=refusal,
        guard=guard,
        coverage=Coverage(),
    )
    if refusal is not None:
        return Again(choice)
    if match is not None and match.decision.plugins.fast_response is not None:
        return Again(replace(choice, answer=match.decision.plugins.fast_response))
    candidates = router.candidates.of(asked, match, None, unmeasured)
    return Again(replace(choice, candidates=candidates, refusal=None if candidates else "no_candidates"))


def check_again(router: SemanticRouter, recorded: Recorded) -> Again:
    """For a model that was named: what the guards say."""
    facts = _facts(router.config.plan.judges, _known(router, recorded), recorded.facts)
    lacking = _unguarded(router, facts)
    if lacking:
        return Again(None, lacking)
    refusal, guard = verdict_of(router.config.extras.guards, facts, recorded.asked)
    return Again(Choice(refusal=refusal, guard=guard))


def _known(router: SemanticRouter, recorded: Recorded) -> Known:
    heads = recorded.heads
    about, last, history = (Seen(answers=heads.get(where, {})) for where in (ABOUT, LAST, HISTORY))
    own = {name: Seen(answers={name: answer}) for name, answer in heads.get(OWN, {}).items()}
    known = Known(recorded.asked, SOME_TEXT, about, last, history, recorded.category, own)
    answer = router.watcher.domain(known)
    if answer is None:
        return known
    category = settle(answer, router.config.threshold, router.config.fallback_category)
    before = recorded.category
    if category.name != answer.label and before is not None and before.name != answer.label:
        return known  # not sure of this turn alone: the conversation was about something, and still is
    return Known(recorded.asked, SOME_TEXT, about, last, history, category, own)


def _facts(judges: tuple[Judge, ...], known: Known, recorded: Facts) -> dict[Key, Verdict]:
    """As recorded, and judged anew wherever the answers are there that a judge goes by."""
    facts = dict(recorded)
    for judge in judges:
        if _can_judge(judge, known):
            facts.update(judge.judge(known))
    return facts


def _can_judge(judge: Judge, known: Known) -> bool:
    match judge:
        case Domain():
            return known.category is not None
        case Language():
            return LANGUAGE in known.seen.answers
        case OwnClassifier():
            return judge.model in known.own
        case Guard(method="classifier"):
            seen = known.seen_history if judge.history else known.seen_last
            return judge.model in known.own if judge.model is not None else SAFETY in seen.answers
    return isinstance(judge, Context)


def _lacking(plan: Plan, facts: Facts) -> tuple[str, ...]:
    """The signals that were not judged, where they could change which decision wins."""
    asked = {key for decision in plan.decisions for key in leaves(decision.rule)}
    missing = asked - facts.keys()
    if not missing or settled(bare(plan.decisions), facts, plan.strategy):
        return ()
    return tuple(sorted(_named(missing)))


def _unguarded(router: SemanticRouter, facts: Facts) -> tuple[str, ...]:
    rules = [rule for rule in router.config.extras.guards if rule.blocks]
    return tuple(sorted(_named({(str(rule.kind), rule.name) for rule in rules} - facts.keys())))


def _named(keys: Iterable[Key]) -> Iterator[str]:
    return (f"{kind}:{name}" for kind, name in keys)
