"""Policies of the model mix: who chooses the model, who picks the replica, and when a request may leave its model.

A policy is `CHOICE` or `CHOICE/PICKER`. Without a picker a choice has ours, so that only the choice differs; `two-hop`
is `category-rule/llm-d-default`, the pipeline of today. Ours is `default`, with the margin of quality that may be given
up behind it where it is not the one that is shipped: `default-0.25`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from statistics import fmean

from benchmarks.choices.best_single import BestSingle
from benchmarks.choices.briefing import Briefing, brief
from benchmarks.choices.category_rule import CategoryRule
from benchmarks.choices.cheapest import Cheapest
from benchmarks.choices.oracle import Oracle
from benchmarks.choices.random_model import RandomModel
from benchmarks.choices.semantic_stage import stage
from benchmarks.choices.signals import Accuracy
from benchmarks.sim import policies
from benchmarks.sim.fleet import ENGINE_BLOCK_TOKENS, FleetSpec, work_s
from benchmarks.sim.flight import Flight
from benchmarks.workloads.questions import ModelMix, answered_by, ask
from benchmarks.workloads.workload import Ask
from epp.datastore.pool import Pool
from epp.domain import Chooser
from epp.scheduling.framework import Profile
from epp.scheduling.spill import SpillRules

TWO_HOP = "two-hop"
SAMPLE = 500
Make = Callable[[Briefing, Pool, Random], Chooser]
CHOICES: dict[str, Make] = {
    policies.OURS: lambda known, pool, rng: stage(known, pool, Accuracy()),
    "best-single": lambda known, pool, rng: BestSingle(known),
    "cheapest": lambda known, pool, rng: Cheapest(known),
    "random-model": lambda known, pool, rng: RandomModel(known, rng),
    "category-rule": lambda known, pool, rng: CategoryRule(stage(known, pool, Accuracy())),
    "multi-factor": lambda known, pool, rng: CategoryRule(stage(known, pool, Accuracy(), "multi_factor")),
    "oracle": lambda known, pool, rng: Oracle(known),
}


@dataclass(slots=True, frozen=True)
class Choosing:
    """One policy; `spill` None never leaves the model that was chosen."""

    make: Make
    profile: Callable[[], Profile]
    spill: SpillRules | None = None

    def chooser(self, known: Briefing) -> Callable[[Pool, Random], Chooser]:
        """For a run."""
        return lambda pool, rng: self.make(known, pool, rng)


def find(policy: str) -> Choosing:
    """Raises ValueError for a name there is not."""
    name, _, picker = ("category-rule/llm-d-default" if policy == TWO_HOP else policy).partition("/")
    choice, _, margin = name.partition("-") if name.startswith(f"{policies.OURS}-") else (name, "", "")
    if choice not in CHOICES:
        raise ValueError(f"there is no policy {policy!r} for a model mix; there are {', '.join(names())}")
    spill = None
    if choice == policies.OURS:
        try:
            spill = SpillRules(margin_max=float(margin)) if margin else SpillRules()
        except ValueError as wrong:
            raise ValueError(f"policy {policy!r}: {wrong}") from wrong
    return Choosing(CHOICES[choice], policies.maker(picker or policies.OURS), spill)


def names() -> list[str]:
    """What `--policy` takes, without margins and pickers."""
    return [*CHOICES, TWO_HOP]


def own_admission(policy: str) -> str:
    """As of the picker alone: our gate for ours, the Go picker's for the two hops, none for the others."""
    if policy == TWO_HOP or "/llm-d-" in policy:
        return "llm-d-legacy"
    return policies.OWN_GATE if find(policy).spill is not None else "none"


def briefing(workload: ModelMix, fleet: FleetSpec) -> Briefing:
    """What is known of the fleet's models. Raises ValueError for one whose answers nobody knows."""
    prices = Prices(fleet)
    unknown = [model for model in prices.models if model not in workload.models]
    if unknown:
        raise ValueError(f"no answers are known of {', '.join(unknown)}; they are of {', '.join(workload.models)}")
    sample = [ask(number, question) for number, question in enumerate(workload.studied[:SAMPLE])]
    gpu_s = {m: fmean(prices.gpu_s(answered_by(each, m), m) for each in sample) for m in prices.models}
    return brief(prices.models, workload.studied, workload.asked, gpu_s)


class Prices:
    """What an answer costs, in GPU-seconds: its prefill, nothing cached, and a share of steps that 32 take together.

    Reckoned from the constants and not measured, so that a cost says which model answered and how long, and nothing of
    how full the batches happened to be.
    """

    def __init__(self, fleet: FleetSpec) -> None:
        kinds = {fleet.model_of(kind): kind for kind in reversed(fleet.kinds)}
        self.models = list(dict.fromkeys(fleet.model_of(kind) for kind in fleet.kinds))
        self._configs = {model: fleet.config(kind, ENGINE_BLOCK_TOKENS) for model, kind in kinds.items()}
        self._gpus = {model: fleet.profile(kind).gpus for model, kind in kinds.items()}

    def gpu_s(self, answered: Ask, model: str) -> float:
        """Of one answer, on the first kind that serves the model."""
        return work_s(self._configs[model], answered) * self._gpus[model]

    def mean(self, flights: Iterable[Flight]) -> float | None:
        """Of the answers that were given."""
        costs = [self.gpu_s(f.ask, f.model) for f in flights if f.end == "done" and f.model is not None]
        return fmean(costs) if costs else None
