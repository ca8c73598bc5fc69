"""Each recorded request, decided again: what it would come to, and where that cannot be told, for want of what.

One step at a time: each request meets what the requests before it left as they really went, not as they would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from epp import candidates
from epp.chooser import candidate_of, choice_of
from epp.domain import Candidate, Choice, Receipt, Refused, SpillReason
from epp.replay.queue import Lines
from epp.replay.recorded import ANSWERED, PASSED_ON, Recorded
from epp.replay.rules import Rules
from epp.replay.scene import Scenes
from epp.replay.signals import signals_of

if TYPE_CHECKING:
    from semantic.router import SemanticRouter


ROUTED = ("goes", "waits")


@dataclass(slots=True)
class Outcome:
    """What a request would come to. `endpoints` are all that the dice may take; empty: not chosen, or not known.
    `spill` is why it leaves its model for another, empty where it does not.

    `lacking` says why it, or (with a `model`) its endpoint, cannot be told; `borrowed` names the receipts by which the
    endpoints of a moment are known that its own does not tell.
    """

    recorded: Recorded
    model: str | None = None
    decision: str | None = None
    fate: str = ""
    spill: str = ""
    endpoints: Mapping[str, int] = field(default_factory=dict)
    lacking: str = ""
    borrowed: Sequence[str] = ()

    @property
    def decided(self) -> bool:
        """Whether anything can be told."""
        return bool(self.fate)

    @property
    def changes(self) -> list[str]:
        """Which of `model`, `endpoint`, `fate`, `spill` would be others."""
        if not self.decided:
            return []
        then, changed = self.recorded, []
        routed = all(fate in ROUTED for fate in (self.fate, then.fate))
        if routed and self.model != then.model:
            changed.append("model")
        if routed and self.endpoints and then.picked not in self.endpoints:
            changed.append("endpoint")
        if self.fate != then.fate:
            changed.append("fate")
        if routed and bool(self.spill) != bool(then.spill):
            changed.append("spill")
        return changed


def again(recorded: Sequence[Recorded], rules: Rules | None, router: SemanticRouter | None) -> list[Outcome]:
    """In their order. Without `rules` endpoints and room stay as they were, without a `router` models do."""
    own = None if rules is None else rules.own
    lines = Lines(recorded, lambda priority: own is not None and own.level(priority) == "critical")
    scenes = Scenes(recorded)
    return [_Step(each, scenes, lines, rules, router).taken() for each in recorded]


@dataclass(slots=True)
class _Step:
    recorded: Recorded
    scenes: Scenes
    lines: Lines
    rules: Rules | None
    router: SemanticRouter | None

    def taken(self) -> Outcome:
        """Decided again, and then what really happened is learned from."""
        outcome = self.outcome()
        self._learn()
        return outcome

    def outcome(self) -> Outcome:
        then = self.recorded
        if then.told.get("outcome") == PASSED_ON:
            return Outcome(then, lacking="it is the first of two streams: the second chose its endpoint")
        try:
            choice = self._choice()
            if isinstance(choice, str):
                return Outcome(then, lacking=choice)
            if choice.refusal is not None:
                raise choice.refusal
            if choice.answer is not None:
                return Outcome(then, decision=choice.decision, fate=ANSWERED)
            choice = candidates.fitting(choice, then.request(), Receipt("", "", then.at, "", None))
        except Refused as refused:
            return Outcome(then, fate=f"refused: {refused.reason.code}")
        return self._placed(choice)

    def _choice(self) -> Choice | str:
        """The candidates, or why there are none to be told."""
        then, router = self.recorded, self.router
        own = then.choice()
        if router is None:
            return own or f"it was refused ({then.told.get('outcome')}) before a model was chosen"
        from semantic import again as semantic  # noqa: PLC0415  # only who replays a semantic file loads the stage

        asked = then.told.get("asked_model")
        if then.told.get("rewrite"):
            return own or "it was rewritten, and refused before a model was chosen"
        try:
            signals = signals_of(then)
        except (AttributeError, TypeError, ValueError):
            return "its signals are not written as this version writes them"
        if asked in router.aliases:
            found = semantic.choose_again(router, signals)
        elif router.blocks:
            found = semantic.check_again(router, signals)
        else:
            return own or Choice((Candidate(asked),))
        if found.choice is None:
            return f"not judged then: {', '.join(found.lacking)}"
        models = tuple(candidate_of(one) for one in found.choice.candidates) or (Candidate(asked),)
        return choice_of(found.choice, models)

    def _spilled_as_then(self, choice: Choice) -> Choice:
        """The spill is taken as it was, where the same model still comes first."""
        spill = self.recorded.told.get("spill") or {}
        to = next((c for c in choice.candidates if c.model == spill.get("to")), None)
        same = bool(choice.candidates) and choice.candidates[0].model == spill.get("from")
        return candidates.first(to, choice) if to is not None and same else choice

    def _placed(self, choice: Choice) -> Outcome:
        then, wanted = self.recorded, choice
        judged = self.rules is not None and self.rules.spills(then, choice)
        if not judged:
            choice = self._spilled_as_then(choice)
        first = choice.candidates[0].model
        outcome = Outcome(
            then, first, choice.decision, fate=then.fate, spill=then.spill if choice is not wanted else ""
        )
        if self.rules is None:
            freed = then.at_the_choice and self.router is not None
            outcome.fate = "goes" if freed else then.fate
            if freed or (then.fate in ROUTED and first != then.model):
                outcome.lacking = "its endpoint: no scheduling configuration is given"
            return outcome
        refused = then.fate.startswith("refused")
        if refused and not (then.at_the_gate and self.rules.gated) and self.router is None:
            return Outcome(then, lacking=f"whether it would be refused ({then.told.get('outcome')}) all the same")
        try:
            outcome.fate = self._fate(choice)
            if judged:
                choice = self._left(choice, outcome)
                first = choice.candidates[0].model
            scene = self.scenes.at(then, first)
            if scene is None:
                known = self.scenes.known(then.pool, first)
                near = "no receipt of that moment" if known else "no receipt at all"
                outcome.lacking = f"its endpoint: {near} tells of endpoints of {first}"
                outcome.fate = "" if refused else outcome.fate
                return outcome
            found = self.rules.choose(scene, choice, then)
            outcome.endpoints, outcome.model, outcome.borrowed = found.taken, found.model, scene.borrowed
        except Refused as why:
            outcome.fate, outcome.endpoints = f"refused: {why.reason.code}", {}
        return outcome

    def _fate(self, choice: Choice) -> str:
        """Whether it goes on at once or waits, by what there was when it came. Raises Refused."""
        then = self.recorded
        assert self.rules is not None
        if not self.rules.gated:
            scene = None
        else:
            critical = self.lines.critical(then, then.gate_at)
            beside = [candidate.model for candidate in self.rules.near(choice)]
            scene = self.scenes.at(then, choice.candidates[0].model, arriving=True, beside=beside, critical=critical)
        if scene is None:
            return then.fate if not then.fate.startswith("refused") else "goes"
        return self.rules.fate(scene, choice, then, self.lines.waiting(then))

    def _left(self, choice: Choice, outcome: Outcome) -> Choice:
        """The candidates with that first for which it leaves; as they were where it stays."""
        assert self.rules is not None
        then, first = self.recorded, choice.candidates[0]
        near = self.rules.near(choice)
        scene = self.scenes.at(then, first.model, beside=[candidate.model for candidate in near])
        if scene is None:
            outcome.spill = then.spill
            return self._spilled_as_then(choice)
        found = self.rules.leaves(scene, choice, then)
        if found is not None and found.to is not None:
            outcome.spill = found.reason.value
            return candidates.first(next(c for c in choice.candidates if c.model == found.to), choice)
        if found is not None and found.reason is SpillReason.HELD_NO_OTHER and len(scene.models) <= len(near):
            outcome.lacking = "whether it would leave: no receipt of that moment tells of endpoints of the other models"
        return choice

    def _learn(self) -> None:
        """What came of it where it really went."""
        scene = self.scenes.at(self.recorded, self.recorded.model)
        if self.rules is not None and scene is not None:
            self.rules.learn(scene, self.recorded)
