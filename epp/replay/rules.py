"""The rules to decide by again: scheduler and gate of an `EndpointPickerConfig`, each pool with memories of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import ClassVar

from epp.datastore.pool import Pool
from epp.domain import Candidate, Choice, Endpoint, Receipt, Refused, Request, Spilled, SpillReason
from epp.flow.build import Place
from epp.flow.gate import Gate
from epp.flow.section import gate_of_section
from epp.flow.settings import FlowSettings, GatewayTimeouts
from epp.flow.ticket import Key, Ticket
from epp.leaving import Leaving, outlook_of
from epp.options.flow import FlowControlConfig
from epp.picking import Picking
from epp.replay import own as own_gate
from epp.replay.recorded import Recorded
from epp.replay.scene import Scene
from epp.scheduling.default import reckoner_of
from epp.scheduling.framework import Producer, Query, Scheduler
from epp.scheduling.spill import Spill, SpillRules

THROWS = 40  # of the dice: an endpoint that any of them takes is no change; of three equals one is missed in 10 million
SCRAPE_S = 0.5
# What these go by, receipts do not tell.
BLIND: Mapping[str, str] = {
    "label-selector-filter": "labels",
    "by-label-selector": "labels",
    "by-label": "labels",
    "header-label-affinity-scorer": "labels and headers",
    "context-length-aware": "labels",
    "decode-filter": "labels",
    "prefill-filter": "labels",
    "encode-filter": "labels",
    "disaggregatedset-rollout-screener": "labels",
    "session-affinity-scorer": "headers",
    "session-affinity-filter": "headers",
    "header-profile-handler": "headers",
    "endpoint-attribute-filter": "numbers of your own",
    "lora-affinity-scorer": "adapters",
    "endpoint-attribute-scorer": "numbers of your own",
}
LEARNS = {"least-work-scorer", "predicted-latency-producer"}
LEARNED = (
    "goes by what it has learned, of which receipts tell most: replay by the configuration in use, too,"
    " to see how much is no change"
)


@dataclass(slots=True)
class Pick:
    """The addresses that were taken, by how many throws of the dice, and the model that most of them mean."""

    taken: Counter[str]
    model: str | None


class Rules:
    """`scheduler` makes one for each pool. Who has room is said by the `section` of its file, or by our `own` gate's
    settings, where the scheduler reckons in seconds; without both nothing is known of it. Likewise the `spill`."""

    def __init__(
        self,
        scheduler: Callable[[], Scheduler],
        section: FlowControlConfig | None,
        own: FlowSettings | None = None,
        spill: SpillRules | None = None,
    ) -> None:
        self._make = scheduler
        self._section = section
        self._own = own
        self._spill = spill
        self._parts: dict[str, _Parts] = {}

    @property
    def gated(self) -> bool:
        """Whether they say who waits and who is refused for want of room."""
        return self._section is not None or self._own is not None

    @property
    def own(self) -> FlowSettings | None:
        """Of our own gate, where that is what decides."""
        return None if self._section is not None else self._own

    def spills(self, then: Recorded, choice: Choice) -> bool:
        """Whether they say when this one leaves its model: not where nobody was there for it, nor where it had left
        before, or found room elsewhere, and may still."""
        if self._spill is None or len(choice.candidates) == 1 or then.spill == SpillReason.NO_ENDPOINT.value:
            return False
        may = self._spill.wait_s > 0 and then.model in {candidate.model for candidate in self.near(choice)}
        return then.spill in ("", SpillReason.WAIT.value) or not may

    def near(self, choice: Choice) -> list[Candidate]:
        """The candidates that may stand in for the first."""
        first, *rest = choice.candidates
        most = first.margin + (self._spill.margin_max if self._spill is not None else 0.0)
        return [candidate for candidate in rest if candidate.margin <= most]

    @property
    def blind(self) -> list[str]:
        """Plugins that go by what receipts do not tell."""
        types = {plugin.type for plugin in self._make().plugins}
        blind = [f"{kind} goes by {BLIND[kind]}, which receipts do not tell" for kind in sorted(BLIND.keys() & types)]
        return [*blind, *(f"{kind} {LEARNED}" for kind in sorted(LEARNS & types))]

    def fate(self, scene: Scene, choice: Choice, then: Recorded, waiting: Sequence[Recorded]) -> str:
        """Whether it `goes` on or `waits`, with these at the gate. Raises Refused for one that does neither."""
        parts, request = self._of(scene.pool), then.request()
        endpoints, now, gate = scene.pool.endpoints, scene.now, parts.gate
        reckoner = reckoner_of(parts.scheduler)
        if self.own is not None and reckoner is not None and endpoints:
            self._as_then(parts, scene, then)
            return own_gate.fate(self.own, reckoner, scene, choice, then=then, waiting=waiting)
        if gate is None or not endpoints:
            return "goes"
        ticket = Ticket(request, Key(frozenset(c.model for c in choice.candidates)), now)
        rule = gate.control.rule
        rule.screen(ticket, endpoints, now)
        room = rule.room(ticket, endpoints, now)
        return "waits" if room is not None and not room else "goes"

    def leaves(self, scene: Scene, choice: Choice, then: Recorded) -> Spilled | None:
        """Whether it leaves its first candidate for a shorter wait, and so keeps others from it; None: it does not."""
        parts = self._of(scene.pool)
        self._as_then(parts, scene, then)
        picking = Picking(scene.pool, parts.scheduler, Random(0), leaving=parts.leaving)
        picking.wants(choice, scene.now)
        told = Receipt("", "", scene.now, "", None)
        aliases = frozenset({then.request().model or ""})
        picking.choose(then.request(), choice, told, scene.now, prefer=None, tried=set(), aliases=aliases)
        return told.spill

    def choose(self, scene: Scene, choice: Choice, then: Recorded) -> Pick:
        """Where it would go; no more than where it went, if the dice may take that. Raises Refused where most do."""
        request = then.request()
        parts = self._of(scene.pool)
        self._as_then(parts, scene, then)
        scheduler = parts.scheduler
        taken, models = Counter[str](), Counter[str | None]()
        refused: list[Refused] = []
        for seed in range(THROWS):
            picking, scratch = Picking(scene.pool, scheduler, Random(seed)), Receipt("", "", scene.now, "", None)
            aliases = frozenset({request.model or ""})
            try:
                found = picking.choose(request, choice, scratch, scene.now, prefer=None, tried=set(), aliases=aliases)
            except Refused as why:
                refused.append(why)
                continue
            taken[found.pick.endpoint.address] += 1
            models[found.candidate.model] += 1
            if found.pick.endpoint.address == then.picked:
                return Pick(taken, found.candidate.model)
        if len(refused) > THROWS / 2:
            raise refused[0]
        return Pick(taken, models.most_common(1)[0][0])

    def learn(self, scene: Scene, then: Recorded) -> None:
        """What came of the request where it really went."""
        scheduler = self._of(scene.pool).scheduler
        endpoint = None if then.picked is None else scene.pool.at(then.picked)
        if endpoint is None:
            return
        query = Query(then.request(), Candidate(then.model), then.decided_at, Random(0), cached=scene.cached)
        memories = [p for p in scheduler.plugins if not (isinstance(p, Producer) and "prefix" in p.makes)]
        for plugin in memories:
            plugin.picked(query, endpoint)
        took_s = then.first_token_s
        if took_s is not None:
            for plugin in memories:
                plugin.answered(query, endpoint, took_s)

    @staticmethod
    def _as_then(parts: _Parts, scene: Scene, then: Recorded) -> None:
        """What was cached where, and how fast endpoints were thought to be, as the receipts tell."""
        parts.cached.known, parts.cached.hashed = scene.cached, int(then.told.get("hashed_tokens") or 0)
        _as_fast_as_then(parts.scheduler, scene)

    def _of(self, pool: Pool) -> _Parts:
        found = self._parts.get(pool.name)
        if found is None:
            scheduler, cached = self._make(), _Cached()
            others = [p for p in scheduler.producers if "prefix" not in p.makes]
            scheduler.producers = [cached, *others]
            gate = None
            if self._section is not None:
                eligible = Picking(pool, scheduler, Random(0)).eligible
                place = Place(pool, eligible, lambda: 0.0)
                gate = gate_of_section(place, self._section, SCRAPE_S, GatewayTimeouts())
            reckoner = reckoner_of(scheduler)
            if reckoner is not None:
                reckoner.prefixes = cached
            leaving = Leaving(Spill(self._spill), outlook_of(scheduler)) if self._spill is not None else None
            found = self._parts[pool.name] = _Parts(scheduler, cached, gate, leaving)
        return found


@dataclass(slots=True)
class _Parts:
    """What decides for one pool."""

    scheduler: Scheduler
    cached: _Cached
    gate: Gate | None
    leaving: Leaving | None


def _as_fast_as_then(scheduler: Scheduler, scene: Scene) -> None:
    """Where receipts say what a prompt was thought to take, it takes that; elsewhere speeds are learned."""
    reckoner = reckoner_of(scheduler)
    if reckoner is None or not scene.ratios:
        return
    usual = median(scene.ratios.values()) or 1.0
    for endpoint, ratio in scene.ratios.items():
        speed = reckoner.speed(endpoint)
        # All of it by the shape: what each waiting request of others takes is in the wait that the receipt tells.
        speed.typical.a, speed.typical.k, speed.typical.level = 0.0, 1.0, usual
        speed.ratio = ratio / usual


class _Cached(Producer):
    """What the receipt says is cached where, in the place of an index."""

    type: ClassVar[str] = "recorded-prefixes"
    makes: ClassVar[tuple[str, ...]] = ("prefix",)

    def __init__(self) -> None:
        self.known: Mapping[Endpoint, int] = {}
        self.hashed = 0

    def produce(self, query: Query, endpoints: Sequence[Endpoint]) -> None:
        """Fills `cached` and `hashed`."""
        there = set(endpoints)
        query.cached = {e: tokens for e, tokens in self.known.items() if e in there}
        query.hashed = self.hashed

    def cached(self, request: Request, model: str | None, endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, int]:
        """The same, for who asks before there is a query."""
        return {e: self.known[e] for e in endpoints if e in self.known}
