"""How many of us there are before one fleet, and what they have in common.

Requests are dealt over them at random, as a gateway's connections are. What one knows of another is told at once:
where something is shared, the figures are the best that sharing it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from benchmarks.sim.gates import own_gate
from benchmarks.sim.quiet import QuietTelemetry
from epp.datastore.pool import Pool
from epp.datastore.receipts import Keeping, Receipts
from epp.director import Director
from epp.domain import Chooser
from epp.flow.gate import Gate
from epp.flow.settings import FlowSettings
from epp.leaving import Leaving, outlook_of
from epp.picking import Picking
from epp.scheduling.framework import Profile
from epp.scheduling.spill import Spill, SpillRules

Sharing = Literal["nothing", "ledger", "memories"]
"""What several have in common: but for what the replicas tell, nothing; the ledger (one pool); that and the memories of
the plugins (one profile: prefixes, learned speeds, standing). Each has a gate with queues of its own."""
SHARINGS: tuple[Sharing, ...] = ("nothing", "ledger", "memories")
RECEIPTS_KEPT = 16


@dataclass(slots=True, frozen=True)
class Crew:
    """`count` pickers; one has nothing to share."""

    count: int = 1
    sharing: Sharing = "nothing"

    def __str__(self) -> str:
        return "1 picker" if self.count == 1 else f"{self.count} pickers that share {self.sharing}"


ALONE = Crew()


@dataclass(slots=True, frozen=True)
class Parts:
    """What a picker is made of; `chooser` is asked for once a picker."""

    pool: Callable[[], Pool]
    profile: Callable[[], Profile]
    chooser: Callable[[Pool, Random], Chooser]
    flow: FlowSettings | None
    spill: SpillRules | None
    now: Callable[[], float]
    seed: int


@dataclass(slots=True, frozen=True)
class Picker:
    """One of us."""

    director: Director
    pool: Pool
    profile: Profile
    gate: Gate | None


def hire(crew: Crew, parts: Parts) -> list[Picker]:
    """All of them. Raises ValueError where the policy has no gate of ours."""
    pool, profile = parts.pool(), parts.profile()
    found = []
    for number in range(crew.count):
        if number and crew.sharing == "nothing":
            pool = parts.pool()
        if number and crew.sharing != "memories":
            profile = parts.profile()
        found.append(_picker(parts, number, pool, profile))
    for each in {id(picker.pool): picker.pool for picker in found}.values():
        each.on_room = _wakes([p.gate for p in found if p.pool is each and p.gate is not None])
    return found


def _picker(parts: Parts, number: int, pool: Pool, profile: Profile) -> Picker:
    of = str(parts.seed) if number == 0 else f"{parts.seed}/{number}"
    rng = Random(f"picker {of}")
    leaving = Leaving(Spill(parts.spill), outlook_of(profile)) if parts.spill is not None else None
    picking = Picking(pool, profile, rng, leaving=leaving)
    gate = own_gate(picking, parts.flow, parts.now) if parts.flow is not None else None
    director = Director(
        picking=picking,
        gate=gate,
        chooser=parts.chooser(pool, Random(f"models {of}")),
        receipts=Receipts(keeping=Keeping(RECEIPTS_KEPT)),
        telemetry=QuietTelemetry(pool),
        now=parts.now,
        wall=parts.now,
        rng=rng,
    )
    return Picker(director, pool, profile, gate)


def _wakes(gates: Sequence[Gate]) -> Callable[[], None]:
    if len(gates) == 1:
        return gates[0].wake

    def wake() -> None:
        for gate in gates:
            gate.wake()

    return wake
