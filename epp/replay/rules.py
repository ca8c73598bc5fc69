"""The rules to decide by again: scheduler and gate of an `EndpointPickerConfig`, each pool with memories of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from epp.datastore.pool import Pool
from epp.domain import Candidate, Choice, Endpoint, Receipt, Refused, Request
from epp.flow.build import Place
from epp.flow.gate import Gate
from epp.flow.section import gate_of_section
from epp.flow.settings import GatewayTimeouts
from epp.flow.ticket import Key, Ticket
from epp.options.flow import FlowControlConfig
from epp.picking import Picking
from epp.replay.recorded import Recorded
from epp.replay.scene import Scene
from epp.scheduling.default import reckoner_of
from epp.scheduling.framework import Producer, Query, Scheduler
from epp.scheduling.reckoner import shape_of

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
    """`scheduler` makes one for each pool; `section` is its flow control, None: nothing is known of it."""

    def __init__(self, scheduler: Callable[[], Scheduler], section: FlowControlConfig | None) -> None:
        self._make = scheduler
        self._section = section
        self._parts: dict[str, tuple[Scheduler, _Cached, Gate | None]] = {}

    @property
    def gated(self) -> bool:
        """Whether they say who waits and who is refused for want of room."""
        return self._section is not None

    @property
    def blind(self) -> list[str]:
        """Plugins that go by what receipts do not tell."""
        types = {plugin.type for plugin in self._make().plugins}
        blind = [f"{kind} goes by {BLIND[kind]}, which receipts do not tell" for kind in sorted(BLIND.keys() & types)]
        return [*blind, *(f"{kind} {LEARNED}" for kind in sorted(LEARNS & types))]

    def waits(self, scene: Scene, choice: Choice, request: Request) -> bool:
        """Whether there is no room for it. Raises Refused for what is neither to go nor to wait."""
        _, _, gate = self._of(scene.pool)
        endpoints, now = scene.pool.endpoints, scene.now
        if gate is None or not endpoints:
            return False
        ticket = Ticket(request, Key(frozenset(c.model for c in choice.candidates)), now)
        rule = gate.control.rule
        rule.screen(ticket, endpoints, now)
        room = rule.room(ticket, endpoints, now)
        return room is not None and not room

    def choose(self, scene: Scene, choice: Choice, then: Recorded) -> Pick:
        """Where it would go; no more than where it went, if the dice may take that. Raises Refused where most do."""
        request = then.request()
        scheduler, cached, _ = self._of(scene.pool)
        cached.known, cached.hashed = scene.cached, int(then.told.get("hashed_tokens") or 0)
        _as_fast_as_then(scheduler, scene, request)
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
        scheduler, _, _ = self._of(scene.pool)
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

    def _of(self, pool: Pool) -> tuple[Scheduler, _Cached, Gate | None]:
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
            found = self._parts[pool.name] = scheduler, cached, gate
        return found


def _as_fast_as_then(scheduler: Scheduler, scene: Scene, request: Request) -> None:
    """Where the receipt says what the prompt was thought to take, it takes that; elsewhere speeds are learned."""
    reckoner = reckoner_of(scheduler)
    if reckoner is None:
        return
    for endpoint, prefill_s in scene.prefill_s.items():
        work = shape_of(request.prompt_tokens, scene.cached.get(endpoint, 0))
        if work > 0:
            speed = reckoner.speed(endpoint)
            # All of it by the shape: what each waiting request of others takes is in the wait that the receipt tells.
            speed.typical.a, speed.typical.k, speed.typical.level = 0.0, 1.0, 1.0
            speed.ratio = prefill_s / work


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
