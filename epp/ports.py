"""The ext_proc ports: who decides on each (its scheduler, gate and director), and what carries its streams.

Every port has plugins, and memories, of its own; the fleet and its ledger are shared by all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Protocol

from epp.admission import gate_of
from epp.chooser import DefaultModelChooser, SemanticChooser
from epp.configured import Configured
from epp.datastore.fleet import Fleet
from epp.datastore.pool import Pool
from epp.datastore.receipts import Receipts
from epp.director import Director, Rules
from epp.domain import Chooser, ConfigError, Endpoint, Fault
from epp.edge.processor import Processor
from epp.edge.stream import Shared, Stream
from epp.edge.tracing import Tracer
from epp.flow.gate import Gate
from epp.flow.settings import GatewayTimeouts
from epp.leaving import Leaving, outlook_of
from epp.picking import Picking
from epp.protocol.decision import Signer
from epp.protocol.exchange import Buffers
from epp.protocol.headers import FAIRNESS, OBJECTIVE
from epp.protocol.identity import source
from epp.scheduling.framework import Memory, Scheduler
from epp.scheduling.plugins.approx_prefix_cache import ApproxPrefixCacheProducer
from epp.scheduling.plugins.health import HealthFilter
from epp.scheduling.spill import Spill, SpillRules
from epp.scopes import Scope
from epp.settings import Settings
from epp.telemetry import Telemetry

if TYPE_CHECKING:
    from epp.semantic_stage import SemanticStage

log = logging.getLogger(__name__)


class Carries(Protocol):
    """What carries a port's streams, and counts them."""

    @property
    def open(self) -> int: ...

    @property
    def turned_away(self) -> int: ...


class Ports:
    """Made port by port with `add`; the rest is about all of them together."""

    def __init__(
        self,
        settings: Settings,
        configured: Configured,
        fleet: Fleet,
        receipts: Receipts,
        telemetry: Telemetry,
        *,
        now: Callable[[], float],
        signer: Signer | None,
    ) -> None:
        self._settings = settings
        self._configured = configured
        self._fleet = fleet
        self._receipts = receipts
        self._telemetry = telemetry
        self._now = now
        self._signer = signer
        self._profiles: list[tuple[Scheduler, Pool]] = []
        self._gates: list[tuple[str, Gate]] = []
        self.carriers: list[Carries] = []
        self.pickings: dict[str, Picking] = {}  # by the name of the pool, for prompts that are only tried

    def add(self, scope: Scope, stage: SemanticStage | None) -> Director:
        """Who decides on one more port."""
        settings = self._settings
        profile, rng = self._configured.scheduler(), Random()
        spill = Spill(SpillRules(settings.spill_wait, settings.spill_share_max, settings.spill_margin_max))
        self._profiles.append((profile, scope.pool))
        for step in profile.plugins:
            if isinstance(step, HealthFilter):
                step.on_eject = self._ejected
        self._telemetry.measure(profile)
        leaving = Leaving(spill, outlook_of(profile))
        picking = Picking(scope.pool, profile, rng, settings.unknown_model, leaving)
        self.pickings.setdefault(scope.pool.name, picking)
        flow = self._configured.flow
        gate = None if scope.first_of_two else gate_of(settings, picking, self._now, self._telemetry, flow)
        if gate is not None:
            self._gates.append((scope.pool.name, gate))
        return Director(
            picking=picking,
            chooser=self.chooser(scope.pool, stage),
            receipts=self._receipts,
            telemetry=self._telemetry,
            now=self._now,
            wall=time.time,
            rng=rng,
            rules=Rules(
                unparsed=self._configured.unparsed(settings),
                parsers=self._configured.parsers,
                tenant=source(settings.tenant_from, FAIRNESS),
                agent=self._configured.agent(settings),
                objective=source(settings.objective_from, OBJECTIVE),
                fallbacks=settings.fallback_endpoints,
                scores=settings.emit_endpoint_scores,
                subsets=not settings.disable_endpoint_subset_filter,
                signer=self._signer,
                first_of_two=scope.first_of_two,
                second_of_two=scope.second_of_two and self._signer is not None,
            ),
            gate=gate,
        )

    def processor(self, director: Director, scope: Scope, buffers: Buffers, tracer: Tracer | None) -> Processor:
        """Its streams, where this process carries them."""
        settings = self._settings
        shared = Shared(
            buffers,
            settings.usage_sample_every,
            settings.restore_model,
            settings.body_timeout,
            scope.first_of_two,
            tracer,
        )
        telemetry, now = self._telemetry, self._now
        processor = Processor(lambda: Stream(director, telemetry, now, shared), telemetry, settings.streams_max)
        self.carriers.append(processor)
        return processor

    def chooser(self, pool: Pool, stage: SemanticStage | None, *, remembers: bool = True) -> Chooser:
        """Without a semantic stage `auto` is the default model."""
        if stage is None:
            return DefaultModelChooser(pool, self._settings.default_model)
        return SemanticChooser(lambda: stage.router, classify_s(self._settings), pool, remembers=remembers)

    @property
    def open(self) -> int:
        """How many streams are open."""
        return sum(carrier.open for carrier in self.carriers)

    def streams(self) -> dict[str, int]:
        """The same for an operator, with those that were one too many."""
        return {"open": self.open, "turned_away": sum(carrier.turned_away for carrier in self.carriers)}

    def relisted(self) -> None:
        """The endpoints are not the same any more."""
        for profile, _ in self._profiles:
            profile.relisted(self._fleet.all.endpoints)
        self.probed()

    def room(self) -> None:
        """An endpoint may have become less busy, or be there at all: whoever waits may go on."""
        for _, gate in self._gates:
            gate.wake()

    def close_gates(self) -> None:
        """Refuse those that wait."""
        for _, gate in self._gates:
            gate.close()

    def probed(self) -> None:
        """What endpoints tell has changed; scorers that lack what they need are not asked, which the log says once."""
        for profile, pool in self._profiles:
            before = profile.unused
            profile.probed(pool.endpoints)
            for name, why in profile.unused.items() - before.items():
                log.warning("pool %s: %s is not used: %s", pool.name, name, why)

    def unused(self) -> dict[str, str] | None:
        """Scorers that are not asked, and why; None where all are."""
        return {name: why for profile, _ in self._profiles for name, why in profile.unused.items()} or None

    def waiting(self) -> dict[str, dict[str, float]]:
        """By the pool of a port: requests that wait, and how full its endpoints are (1 is full)."""
        gates = dict(self._gates)
        return {n: {"waiting": len(gate), "fullness": round(gate.fullness(), 4)} for n, gate in gates.items()}

    def refuse_tellers(self, flag: str) -> None:
        """Raises ConfigError where a plugin adds to answers: those that other processes carry it never sees."""
        tellers = {
            plugin.type
            for profile, _ in self._profiles
            for plugin in profile.plugins
            if isinstance(plugin, Memory)
            and (type(plugin).heads is not Memory.heads or type(plugin).reports is not Memory.reports)
        }
        if tellers:
            named = ", ".join(sorted(tellers))
            raise ConfigError(flag, f"more than 1 cannot go with {named}, which adds to answers; leave one of them out")

    def prefix_blocks(self, endpoint: Endpoint) -> int:
        """The blocks of prompts that an endpoint is believed to hold, by the port that knows of most."""
        producers = [producer for profile, _ in self._profiles for producer in profile.producers]
        held = [p.index.used_blocks(endpoint) for p in producers if isinstance(p, ApproxPrefixCacheProducer)]
        return max(held, default=0)

    def _ejected(self, endpoint: Endpoint, fault: Fault | None, why: str) -> None:
        self._telemetry.ejected(fault or "rate")
        left_s = endpoint.ejected_until - self._now()
        log.warning("endpoint %s (%s) is left out for %.0f s: %s", endpoint.name, endpoint.address, left_s, why)


def classify_s(settings: Settings) -> float:
    """How long a classification may take: what is decided after the gateway gave up is of no use to anybody."""
    gateway = GatewayTimeouts(settings.message_timeout, settings.max_message_timeout)
    return min(settings.classify_deadline, gateway.answer_s)
