"""Objectives and rewrites -> the priority of a request, and the model it goes to.

Order of rewrites: a rule that names the model before one for any model, then the oldest object, then the order of its
rules; objects of one age by namespace and name. Must stay true: the answer does not depend on the order in which the
objects arrived; a lookup costs one access to a dict and, for several targets, one draw.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import ClassVar, Literal

from epp.datastore.objects import POOL_GROUP, Objective, Rewrite, RewriteRule

NAMED_MAX = 5

Kind = Literal["InferenceObjective", "InferenceModelRewrite"]


@dataclass(slots=True, frozen=True)
class Rewritten:
    """The model a request goes to, and the rule that says so (`rewrite` is `namespace/name`)."""

    model: str
    rewrite: str
    rule: int


@dataclass(slots=True, frozen=True)
class Rule:
    """Which rule decides about a model (None: about any other), and the share of each of its targets, 0 to 1."""

    model: str | None
    rewrite: str
    rule: int
    targets: dict[str, float]


@dataclass(slots=True, frozen=True)
class Conflict:
    """Something an operator should settle: `losers` are objects (`namespace/name`) that have less effect than they say.

    `model` is what two rewrites claim, None for rules for any model and where no model is concerned. `winner` is the
    object that decides instead, None where none does.
    """

    kind: Kind
    model: str | None
    winner: str | None
    losers: tuple[str, ...]
    why: str


@dataclass(slots=True, frozen=True)
class _Claim:
    """One rule of one rewrite, ready to choose."""

    rewrite: Rewrite
    index: int
    outcomes: tuple[Rewritten, ...]
    bounds: tuple[int, ...]

    def shares(self) -> dict[str, float]:
        shares: dict[str, float] = {}
        for outcome, below, above in zip(self.outcomes, (0, *self.bounds), self.bounds, strict=False):
            shares[outcome.model] = shares.get(outcome.model, 0.0) + (above - below) / self.bounds[-1]
        return shares

    def choose(self, rng: Random) -> Rewritten:
        if len(self.outcomes) == 1:
            return self.outcomes[0]
        return self.outcomes[bisect_right(self.bounds, rng.randrange(self.bounds[-1]))]


class Policies:
    """What objectives and rewrites say about the requests of some pools.

    `pools` are the keys (`namespace/name`) of the pools that these policies are for, all of one API group; objects
    apply where their own namespace and poolRef name one of them. `existing` are the keys of every pool there is, for
    `conflicts()`; None where we do not see them all.
    """

    NONE: ClassVar[Policies]

    def __init__(
        self,
        pools: Collection[str] = (),
        objectives: Iterable[Objective] = (),
        rewrites: Iterable[Rewrite] = (),
        *,
        group: str = POOL_GROUP,
        existing: Collection[str] | None = None,
    ) -> None:
        self._pools = frozenset(pools)
        self._existing = None if existing is None else frozenset(existing) | self._pools
        self._group = group
        self._conflicts: list[Conflict] = []
        self._priorities = self._take_objectives(sorted(objectives, key=lambda o: (o.namespace, o.name)))
        claims = self._take_rewrites(sorted(rewrites, key=lambda r: (r.created, r.namespace, r.name)))
        self._generic = claims.pop(None, None)
        self._exact: dict[str | None, _Claim] = claims

    @property
    def generic(self) -> bool:
        """Whether a rule is for any model, so that a request need not name one."""
        return self._generic is not None

    def priority(self, objective: str | None) -> int:
        """The priority of an objective by its name; 0 where there is none of that name."""
        return self._priorities.get(objective, 0) if objective is not None else 0

    def rewrite(self, model: str | None, rng: Random) -> Rewritten | None:
        """The model that requests for this one go to (None: a request that names none); None where no rule says."""
        claim = self._exact.get(model, self._generic)
        return None if claim is None else claim.choose(rng)

    def rules(self) -> list[Rule]:
        """What decides, model by model in the order of their names, that for any model last."""
        claims: list[tuple[str | None, _Claim]] = [(model, self._exact[model]) for model in self.names()]
        claims += [(None, self._generic)] if self._generic is not None else []
        return [Rule(model, c.rewrite.key, c.index, c.shares()) for model, c in claims]

    def names(self) -> tuple[str, ...]:
        """The models that clients may ask for because a rule names them, sorted."""
        return tuple(sorted(model for model in self._exact if model is not None))

    def priorities(self) -> dict[str, int]:
        """Every objective's name with its priority."""
        return dict(self._priorities)

    def conflicts(self) -> list[Conflict]:
        """Where objects contradict each other or name a pool that is not there."""
        return list(self._conflicts)

    def _take_objectives(self, objectives: Iterable[Objective]) -> dict[str, int]:
        taken: dict[str, Objective] = {}
        for objective in objectives:
            if not self._applies("InferenceObjective", objective):
                continue
            first = taken.setdefault(objective.name, objective)
            if first.priority != objective.priority:
                why = (
                    f"objectives of one name in two namespaces have priorities {first.priority} and "
                    f"{objective.priority}; where both pools share a port, {first.key} decides (the first by name)"
                )
                self._conflicts.append(Conflict("InferenceObjective", None, first.key, (objective.key,), why))
        return {name: objective.priority for name, objective in taken.items()}

    def _take_rewrites(self, rewrites: Iterable[Rewrite]) -> dict[str | None, _Claim]:
        claims: dict[str | None, list[_Claim]] = {}
        for rewrite in rewrites:
            if not self._applies("InferenceModelRewrite", rewrite):
                continue
            for index, rule in enumerate(rewrite.rules):
                claim = self._claim(rewrite, index, rule)
                for model in rule.matches or (None,):
                    claims.setdefault(model, []).append(claim)
        for model, rivals in claims.items():
            if len(rivals) > 1:
                self._conflicts.append(_rivalry(model, rivals))
        return {model: rivals[0] for model, rivals in claims.items()}

    def _claim(self, rewrite: Rewrite, index: int, rule: RewriteRule) -> _Claim:
        weighted = [target for target in rule.targets if target.weight is not None]
        if weighted and len(weighted) < len(rule.targets):
            left_out = _some([f"`{target.model}`" for target in rule.targets if target.weight is None])
            why = f"rule {index} gives a weight to some targets only, and never chooses those without: {left_out}"
            self._conflicts.append(Conflict("InferenceModelRewrite", None, None, (rewrite.key,), why))
        chosen = weighted or rule.targets
        outcomes = tuple(Rewritten(target.model, rewrite.key, index) for target in chosen)
        bounds = tuple(accumulate(1 if target.weight is None else target.weight for target in chosen))
        return _Claim(rewrite, index, outcomes, bounds)

    def _applies(self, kind: Kind, item: Objective | Rewrite) -> bool:
        """Whether the object is about one of our pools; what is about no pool at all is noted."""
        key = f"{item.namespace}/{item.pool.name}"
        if item.pool.group == self._group:
            if self._existing is not None and key not in self._existing:
                why = f"it names the InferencePool {key}, which does not exist, and has no effect"
                self._conflicts.append(Conflict(kind, None, None, (item.key,), why))
            return key in self._pools
        if key in self._pools:
            named = f'"{item.pool.group}"'
            why = f"it names the InferencePool {key} by the group {named} instead of {self._group}, and has no effect"
            self._conflicts.append(Conflict(kind, None, None, (item.key,), why))
        return False


def _rivalry(model: str | None, rivals: list[_Claim]) -> Conflict:
    winner, losers = rivals[0], rivals[1:]
    others = tuple(dict.fromkeys(claim.rewrite.key for claim in losers))
    what = "any model" if model is None else f"the model `{model}`"
    listed = _some([f"{claim.rewrite.key} rule {claim.index}" for claim in losers])
    decides = f"{winner.rewrite.key} rule {winner.index} decides"
    why = f"{what} is rewritten by more than one rule: {decides} ({_precedence(winner, losers)}), not {listed}"
    return Conflict("InferenceModelRewrite", model, winner.rewrite.key, others, why)


def _some(names: list[str]) -> str:
    """The first of the names, as an Event has room for a few only."""
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def _precedence(winner: _Claim, losers: list[_Claim]) -> str:
    if all(claim.rewrite is winner.rewrite for claim in losers):
        return "the first of its rules"
    if any(claim.rewrite.created == winner.rewrite.created for claim in losers if claim.rewrite is not winner.rewrite):
        return "of the oldest, the first by name"
    return "the oldest"


Policies.NONE = Policies()
