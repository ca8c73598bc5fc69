"""A plan taken apart once, so that a request need not: which judges cost nothing, which wait for models, and for what.

Pure. Guards are judged for every request, whatever decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from semantic.config import Plan
from semantic.judges.known import Judge
from semantic.judges.words import Keywords
from semantic.rules import Decision, Facts, Strategy, bare, leaves, settled
from semantic.watch import Wanted


@dataclass(frozen=True, slots=True)
class Looks:
    """Judges that wait for models, and what they want of them."""

    judges: tuple[Judge, ...]
    wanted: Wanted

    @classmethod
    def of(cls, judges: Sequence[Judge]) -> "Looks":
        """For these judges."""
        return cls(tuple(judges), Wanted.by(judges))


class Prepared:
    """One plan. `free` judges need no model, `domains` go by the category alone.

    `slow` says that some of the free ones look through the words: milliseconds for a long text.
    """

    def __init__(self, plan: Plan, guards: Sequence[Judge]) -> None:
        """`guards` are judged beside the plan's own signals."""
        used = _used(plan)
        self.decisions: tuple[Decision, ...] = plan.decisions
        self.strategy: Strategy = plan.strategy
        self.free = tuple(judge for judge in used if not Wanted.by([judge]))
        self.slow = any(isinstance(judge, Keywords) for judge in self.free)
        self.domains = tuple(judge for judge in used if judge.key[0] == "domain")
        own = [judge for judge in used if judge not in self.free and judge not in guards]
        self._all = Looks.of([*own, *guards])
        self._but_domains = Looks.of([*(judge for judge in own if judge not in self.domains), *guards])
        self._guards = Looks.of(guards)
        self._pending = bare(plan.decisions)

    def looks(self, facts: Facts, *, category_known: bool) -> Looks:
        """What is still to be looked at, these facts being known."""
        if settled(self._pending, facts, self.strategy):
            return self._guards
        return self._but_domains if category_known else self._all


def _used(plan: Plan) -> tuple[Judge, ...]:
    """The judges that some decision asks for; a complexity signal is asked for by its levels."""
    asked = {key for decision in plan.decisions for key in leaves(decision.rule)}
    wanted = {(kind, name.partition(":")[0] if kind == "complexity" else name) for kind, name in asked}
    # A guard of a recipe of its own is no guard for all requests; it is judged as any other signal.
    return tuple(judge for judge in plan.judges if judge.key in wanted)
