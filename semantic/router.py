"""The semantic router: a request in, an ordered list of models out, always in time and never an exception."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from semantic.asked import Asked
from semantic.candidates import Candidates
from semantic.choice import Candidate, Choice, Refusal, Status, Weighed
from semantic.config import Plan, SemanticConfig, load_config
from semantic.followup import is_follow_up
from semantic.guards import verdict_of
from semantic.judges.heads import Guard, OwnClassifier
from semantic.judges.known import Category, Judge, Known
from semantic.judges.meaning import Complexity, Embedding, Phrases
from semantic.own.models import OwnModels
from semantic.prepared import Prepared
from semantic.rules import Facts, Key, Match, Verdict, decide, scores_in
from semantic.select import Measure, unmeasured
from semantic.sessions import Keys, Remembered, Sessions
from semantic.signals.api import Answer, Coverage, Signals
from semantic.signals.heads import HeadSignals
from semantic.signals.shipped import PROVIDES
from semantic.watch import GUARDS, Wanted, Watcher, blended, denied, facts_of, heads, matched, settle, unknown

TOP_CATEGORIES = 3
SHORT_CHARACTERS_MAX = 4_000
"""What is looked through for keywords on the event loop; it takes about a millisecond."""
Observe = Callable[[Collection[Key], float], None]
"""Told which signals were looked at together, and how many seconds that took."""
UNREAD = "but is not clearly in the language that the classifier reads"  # see `settle`
NOWHERE = ""  # no category: the classifier was not sure enough


class SemanticRouter:
    """Looks, decides, and names the candidates; the last of them is the default model, where it can do the task."""

    def __init__(
        self,
        config: SemanticConfig,
        signals: Signals,
        *,
        own: OwnModels | None = None,
        sessions: Sessions | None = None,
        observe: Observe = lambda signals, seconds: None,
    ) -> None:
        """Serves at once; `prepare` brings in what takes time to load."""
        self.config = config
        self.aliases: frozenset[str] = config.aliases
        self.warnings: tuple[str, ...] = config.warnings
        self.signals = signals
        self.own = own or OwnModels(config.own, Path())
        self.blocks = any(rule.blocks for rule in config.extras.guards)
        self.closed = any(rule.blocks and rule.blocks_unknown for rule in config.extras.guards)
        self._sessions = sessions or Sessions()
        self._observe = observe
        self.watcher = Watcher(signals, self.own, config.own_domain)
        self._guards = tuple(judge for judge in config.plan.judges if judge.key[0] in GUARDS)
        self._guarded = Wanted.by(self._guards)
        self.candidates = Candidates(config)
        plans = (config.plan, *config.plans.values())
        self._prepared = {id(plan): Prepared(plan, self._guards) for plan in plans}

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        lenient: bool = False,
        signals: Signals | None = None,
        sessions: Sessions | None = None,
        observe: Observe = lambda signals, seconds: None,
    ) -> "SemanticRouter":
        """Reads the configuration, then loads tier 0. Blocking: call it in a thread when a loop is running.

        ConfigError for a mistake in either, OSError when the configuration cannot be read.
        """
        config = load_config(path, lenient=lenient, provides=PROVIDES if signals is None else signals.provides)
        own = OwnModels(config.own, path.parent)
        return cls(config, signals or HeadSignals.load(), own=own, sessions=sessions, observe=observe)

    def prepare(self) -> None:
        """Loads the encoder and the users' own models, makes the vectors of phrases. Blocking. Raises ConfigError."""
        self.signals.prepare()
        phrases = [
            p for plan in (self.config.plan, *self.config.plans.values()) for j in plan.judges for p in _phrases(j)
        ]
        texts = [text for one in phrases for text in one.texts]
        vectors = self.signals.embed(texts) if texts else None
        if vectors is not None:
            at = 0
            for one in phrases:
                one.vectors = vectors[at : at + len(one.texts)] if one.texts else None
                at += len(one.texts)
        self.own.load(self._wanted_labels())

    async def choose(self, asked: Asked, deadline_s: float, measure: Measure = unmeasured) -> Choice:
        """The candidates for a request, within `deadline_s` seconds. `measure` says how busy a model's servers are."""
        weighed = await self.weigh(asked, deadline_s, measure)
        self._remember(weighed)
        return weighed.choice

    async def check(self, asked: Asked, deadline_s: float) -> Choice:
        """What guards say of a request for an explicit model: a choice without candidates, and a refusal or none."""
        clock = asyncio.get_running_loop().time
        began = clock()
        known = _known(asked)
        known = await self.watcher.look(known, self._guarded, began + deadline_s)
        facts = facts_of(self._guards, known)
        self._observe(facts, clock() - began)
        refusal, guard = verdict_of(self.config.extras.guards, facts, asked)
        return Choice(
            classification=_status(known, facts, wanted=True),
            refusal=refusal,
            guard=guard,
            matched=matched(facts),
            unknown=unknown(facts),
            denied=denied(facts),
            heads=heads(known),
            coverage=_coverage(known),
        )

    async def weigh(self, asked: Asked, deadline_s: float, measure: Measure = unmeasured) -> Weighed:
        """A choice, and how it came about; nothing is remembered of it."""
        deadline = asyncio.get_running_loop().time() + deadline_s
        plan = self.config.plans.get(asked.model or "", self.config.plan)
        keys = Keys.of(asked)
        before = self._before(asked, keys)
        known, facts, wanted = await self._look(asked, plan, before, deadline, keys=keys)
        refusal, guard = verdict_of(self.config.extras.guards, facts, asked)
        match = decide(plan.decisions, facts, plan.strategy)
        status = _status(known, facts, wanted=wanted)
        domain = self.watcher.domain(known)
        choice = Choice(
            decision=match.decision.name if match else None,
            category=known.category.name if known.category else None,
            confidence=known.category.confidence if known.category else None,
            probabilities=_top(domain),
            classification=status,
            reason=f"{self._seen(known, domain, before, status)}; {self._chosen(match)}",
            matched=matched(facts),
            unknown=unknown(facts),
            denied=denied(facts),
            heads=heads(known),
            coverage=_coverage(known),
            never_degrade=match is not None and match.decision.never_degrade,
        )
        if refusal is not None:
            choice = replace(choice, refusal=refusal, guard=guard, reason=f"the guard {guard} objects")
        elif match is not None and match.decision.plugins.fast_response is not None:
            choice = replace(choice, answer=match.decision.plugins.fast_response)
        else:
            candidates = self.candidates.of(asked, match, before, measure)
            choice = replace(choice, candidates=candidates, refusal=None if candidates else "no_candidates")
        return Weighed(choice, known, facts, keys, match)

    def close(self) -> None:
        """Lets the threads of the users' own models go; the shipped ones belong to whoever gave them."""
        self.own.close()

    def _wanted_labels(self) -> dict[str, list[frozenset[str]]]:
        """By the user's model, the labels that signals and conditions wait for: of each set one must be known."""
        wanted: dict[str, list[frozenset[str]]] = {}
        for plan in (self.config.plan, *self.config.plans.values()):
            scored = [leaf for decision in plan.decisions for leaf in scores_in(decision.rule)]
            for judge in plan.judges:
                sets = [frozenset({leaf.label}) for leaf in scored if (leaf.kind, leaf.name) == judge.key]
                if isinstance(judge, Guard):
                    sets.append(frozenset(judge.labels))
                elif isinstance(judge, OwnClassifier) and judge.positive is not None:
                    sets.append(frozenset({judge.positive}))
                for name in judge.own:
                    wanted.setdefault(name, []).extend(sets)
        return wanted

    def _before(self, asked: Asked, keys: Keys) -> Remembered | None:
        """What this turn goes on with: a tool has answered, or the user has said nothing of their own."""
        if not self.config.extras.stay or keys.same is None:
            return None
        # The same words asked anew are classified anew; only what came after them makes a continuation of them.
        same = self._sessions.same(keys) if asked.turns[-1][0] != "user" else None
        if same is not None:
            return same
        return self._sessions.before(keys) if is_follow_up(asked.said[-1]) else None

    async def _look(
        self, asked: Asked, plan: Plan, before: Remembered | None, deadline: float, *, keys: Keys
    ) -> tuple[Known, dict[Key, Verdict], bool]:
        """What is known, the facts, and whether any model was asked."""
        prepared, clock = self._prepared[id(plan)], asyncio.get_running_loop().time
        began, known = clock(), _known(asked)
        facts = await self._free(prepared, known, deadline)
        free = clock()
        self._observe(facts, free - began)
        if before is not None and before.category is not None:
            known = replace(known, category=Category(before.category, before.confidence or 0.0))
            facts |= facts_of(prepared.domains, known)
        looks = prepared.looks(facts, category_known=known.category is not None)
        earlier = self._sessions.before(keys) if self.config.extras.prior else None
        # What was decided before is a better context than the words it was decided by.
        alone = earlier is not None and before is None
        known = await self.watcher.look(known, looks.wanted, deadline, alone=alone)
        if known.category is None:
            known = replace(known, category=self._category(known, earlier))
        found = facts_of(looks.judges, known)
        self._observe(found, clock() - free)
        return known, facts | found, bool(looks.wanted) and bool(known.last)

    async def _free(self, prepared: Prepared, known: Known, deadline: float) -> dict[Key, Verdict]:
        """What no model is needed for; of a long text in a thread, and unknown past the deadline."""
        if not prepared.slow or len(known.last) <= SHORT_CHARACTERS_MAX:
            return facts_of(prepared.free, known)
        clock = asyncio.get_running_loop().time
        # Nobody ends a thread: past the deadline it does not begin with another signal.
        judges = takewhile(lambda _: clock() < deadline, prepared.free)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.to_thread(facts_of, judges, known)
        except TimeoutError:
            return {}

    def _category(self, known: Known, earlier: Remembered | None) -> Category | None:
        """The classifier's word, with the conversation's earlier category as a prior where it is not sure."""
        answer = self.watcher.domain(known)
        if answer is None:
            return None
        config = self.config
        category = settle(answer, config.threshold, config.fallback_category)
        unclear = settle(answer, config.threshold, NOWHERE).name == NOWHERE
        if not unclear or earlier is None or not earlier.probabilities:
            return category
        prior = Answer("", 0.0, earlier.probabilities)
        mixed = settle(blended(answer, prior, config.extras.prior), config.threshold, NOWHERE)
        return category if mixed.name == NOWHERE else mixed

    def _remember(self, weighed: Weighed) -> None:
        choice = weighed.choice
        if not choice.candidates:
            return
        domain = self.watcher.domain(weighed.known)
        likely: Mapping[str, float] = {} if domain is None else domain.probabilities
        if not likely and choice.category is not None:
            likely = {choice.category: choice.confidence or 0.0}
        what = Remembered(choice.models, choice.decision, choice.category, choice.confidence, likely)
        self._sessions.note(weighed.keys, what)

    def _seen(self, known: Known, domain: Answer | None, before: Remembered | None, status: Status) -> str:
        """What the prompt looked like, in words of ours."""
        if before is not None:
            return "the turn goes on with what was asked before"
        if domain is not None and known.category is not None:
            looks = f"the prompt looks like {domain.label} ({domain.confidence:.2f})"
            if known.category.name != domain.label:
                threshold = domain.threshold if self.config.threshold is None else self.config.threshold
                below = f"below the threshold of {threshold:.2f}" if domain.confidence < threshold else UNREAD
                looks += f", {below}, so it counts as {known.category.name}"
            return looks
        if not known.last:
            return "the request has no text of a user"
        if status == "degraded":
            return "the prompt could not be classified in time"
        return "no classifier was needed"

    def _chosen(self, match: Match | None) -> str:
        if match is None:
            return f"no decision applies, so the default model {self.config.default_model} answers"
        return f"the decision {match.decision.name} applies"


def _known(asked: Asked) -> Known:
    said = asked.said
    return Known(asked, said[-1] if said else "")


def _phrases(judge: Judge) -> Sequence[Phrases]:
    match judge:
        case Embedding():
            return [judge.phrases]
        case Complexity():
            return [judge.hard, judge.easy]
        case Guard() if judge.method != "classifier":
            return [judge.attacks, judge.benign]
    return []


def _status(known: Known, facts: Facts, *, wanted: bool) -> Status:
    if not wanted or not known.last:
        return "skipped"
    return "degraded" if unknown(facts) else "full"


def _coverage(known: Known) -> Coverage:
    """That of the longest text that was looked at."""
    looks = (known.seen, known.seen_last, known.seen_history, *known.own.values())
    return max((seen.coverage for seen in looks), key=lambda coverage: coverage.total_bytes)


def _top(answer: Answer | None) -> tuple[tuple[str, float], ...]:
    if answer is None:
        return ()
    return tuple(sorted(answer.probabilities.items(), key=lambda item: -item[1])[:TOP_CATEGORIES])


__all__ = ["Candidate", "Choice", "Refusal", "SemanticRouter"]
