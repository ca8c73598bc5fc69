"""The picker's own code among simulated replicas: one run of one policy under one load, from one seed.

Requests reach the director as JSON bodies; what happens to them is told to it as `edge/stream.py` does. Must stay
true: every arrival ends exactly once (arrived = done + shed + failed + in flight); a run depends on nothing but its
arguments; no time passes between the gateway and us, nor between us and a replica.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from random import Random

import msgspec

from benchmarks.sim.fleet import FleetSpec, names
from benchmarks.sim.flight import End, Flight
from benchmarks.sim.loop import VirtualLoop
from benchmarks.sim.member import Member
from benchmarks.sim.quiet import NoAliases, QuietTelemetry
from benchmarks.simulator.replica import StepResult
from benchmarks.simulator.sequence import Job
from benchmarks.workloads.text import prompt
from benchmarks.workloads.workload import Arrival, Ask
from epp.datastore.objects import Objective, PoolRef
from epp.datastore.policies import Policies
from epp.datastore.pool import Listed, Pool
from epp.datastore.receipts import Keeping, Receipts
from epp.director import Director
from epp.domain import Usage
from epp.flow.control import Control
from epp.flow.forecast import LedgerForecast
from epp.flow.gate import Gate
from epp.flow.own import OwnRule
from epp.flow.settings import FlowSettings
from epp.outcome import Answered, Routed
from epp.picking import Picking
from epp.protocol.headers import FAIRNESS, OBJECTIVE
from epp.protocol.messages import Decide
from epp.scheduling.default import reckoner_of
from epp.scheduling.framework import Profile

NAMESPACE, POOL, GROUP = "sim", "sim", "inference.networking.k8s.io"
CLASSES = {"critical": 10, "standard": 0, "sheddable": -1}
HEADERS = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json"}
RECEIPTS_KEPT = 16


@dataclass(slots=True, frozen=True)
class Plan:
    """One run. `mix` are the shares of critical, standard and sheddable requests."""

    fleet: FleetSpec
    block_tokens: int
    profile: Callable[[], Profile]
    seed: int
    scrape_s: float = 0.05
    mix: tuple[float, float, float] = (0.0, 1.0, 0.0)
    admission: str = "none"
    flow: FlowSettings = field(default_factory=FlowSettings)


class World:
    """One run."""

    def __init__(self, plan: Plan, arrivals: Sequence[Arrival]) -> None:
        self.loop = VirtualLoop()
        self.plan = plan
        self.pool = Pool(POOL)
        self.pool.policies = Policies(
            (f"{NAMESPACE}/{POOL}",),
            [Objective(NAMESPACE, name, PoolRef(GROUP, POOL), priority) for name, priority in CLASSES.items()],
        )
        self.profile = plan.profile()
        self.members = [
            Member(
                name,
                f"10.0.{n >> 8}.{n & 255}:8000",
                plan.fleet.config(gpu, plan.block_tokens),
                self.loop,
                self._stepped,
            )
            for n, (name, gpu) in enumerate(zip(names(plan.fleet.gpus), plan.fleet.gpus, strict=True))
        ]
        self._by_address = {member.address: member for member in self.members}
        self.director = self._director()
        self._arrivals = arrivals
        self._followers: dict[int, list[int]] = {}
        for number, arrival in enumerate(arrivals):
            if arrival.after is not None:
                self._followers.setdefault(arrival.after, []).append(number)
        self._classes = _classes(plan, len(arrivals))
        self._flying: dict[int, Flight] = {}
        self.flights: list[Flight] = []
        self.left = len(arrivals)
        self._next = 0
        self._roots = [n for n, arrival in enumerate(arrivals) if arrival.after is None]
        self._tail = msgspec.json.encode(plan.fleet.model)

    def run(self) -> list[Flight]:
        """The requests in the order of their arrival, all of them over."""
        self.list_members()
        self._scrape(None)
        self._schedule_root()
        self.loop.run()
        self.loop.close()
        assert self.left == 0, f"{self.left} requests never ended"
        for member in self.members:
            member.close()
        return self.flights

    def list_members(self) -> None:
        """What discovery knows: every replica that is ready."""
        model = {self.plan.fleet.model: self.plan.fleet.model}
        self.pool.relist(Listed(m.name, m.address, declared=model) for m in self.members if m.alive)
        for endpoint in self.pool.endpoints:
            self._by_address[endpoint.address].endpoint = endpoint
        self.profile.relisted(self.pool.endpoints)

    def _director(self) -> Director:
        seed, loop = self.plan.seed, self.loop
        rng = Random(f"picker {seed}")
        picking = Picking(self.pool, self.profile, rng)
        gate = None
        if self.plan.admission == "onehop":
            reckoner = reckoner_of(self.profile)
            assert reckoner is not None, "only our own policy reckons in seconds"
            flow = self.plan.flow
            control = Control(
                settings=flow,
                rule=OwnRule(flow, reckoner),
                forecast=LedgerForecast(),
                ledger=self.pool,
                eligible=picking.eligible,
            )
            gate = Gate(control, loop.time)
            self.pool.on_room = gate.wake
        self.gate = gate
        return Director(
            picking=picking,
            gate=gate,
            chooser=NoAliases(),
            receipts=Receipts(keeping=Keeping(RECEIPTS_KEPT)),
            telemetry=QuietTelemetry(self.pool),
            now=loop.time,
            wall=loop.time,
            rng=rng,
        )

    def _schedule_root(self) -> None:
        """The next arrival that waits for nobody; one at a time, as a heap of all of them would be slow."""
        if self._next < len(self._roots):
            number = self._roots[self._next]
            self._next += 1
            self.loop.at(self._arrivals[number].at, self._arrive_root, number)

    def _arrive_root(self, number: int) -> None:
        self._schedule_root()
        self._arrive(number)

    def _arrive(self, number: int) -> None:
        ask, klass = self._arrivals[number].ask, self._classes[number]
        flight = Flight(number, ask, klass, self.loop.now)
        self.flights.append(flight)
        headers = dict(HEADERS)
        if klass != "standard":
            headers[OBJECTIVE[0]] = klass
        if ask.tenant is not None:
            headers[FAIRNESS[0]] = ask.tenant
        decide = Decide(headers, self._body(ask), None, None, sees_answer=True)
        self.loop.drive(self.director.decide(decide), partial(self._decided, flight))

    def _body(self, ask: Ask) -> bytes:
        model = self._tail if ask.adapter is None else msgspec.json.encode(ask.adapter)
        content = prompt(ask.blocks, ask.prompt_tokens, self.plan.block_tokens)
        return b'{"model":%b,"stream":true,"messages":[{"role":"user","content":"%b"}]}' % (model, content)

    def _decided(self, flight: Flight, result: Routed | Answered) -> None:
        if isinstance(result, Answered):
            self._over(flight, "shed", result.receipt.outcome)
            return
        assert result.lease is not None
        flight.routed = result
        member = self._by_address[result.lease.endpoint.address]
        flight.member = member.name
        ask = flight.ask
        sequence = member.submit(Job(ask.prompt_tokens, ask.output_tokens, ask.hashes, ask.adapter))
        flight.sequence = sequence
        self._flying[id(sequence)] = flight

    def _stepped(self, member: Member, result: StepResult) -> None:
        for sequence in result.first:
            self._first_token(self._flying[id(sequence)])
        for sequence in result.finished:
            self._finished(self._flying.pop(id(sequence)))

    def _first_token(self, flight: Flight) -> None:
        now, routed, sequence = self.loop.now, flight.routed, flight.sequence
        assert routed is not None
        assert routed.lease is not None
        assert sequence is not None
        flight.first_token, flight.cached_tokens = now, sequence.cached_tokens
        receipt = routed.receipt
        self.director.served(routed, routed.lease.endpoint.address)
        receipt.status, receipt.first_answer_s = 200, now - receipt.time
        routed.lease.prefilled(now)
        self.director.answered(routed)

    def _finished(self, flight: Flight) -> None:
        ask, routed = flight.ask, flight.routed
        assert routed is not None
        routed.receipt.usage = Usage(ask.prompt_tokens, ask.output_tokens, flight.cached_tokens)
        self._end(routed, "completed")
        self._over(flight, "done")

    def _end(self, routed: Routed, outcome: str) -> None:
        routed.receipt.outcome = outcome
        routed.receipt.ended_s = self.loop.now - routed.receipt.time
        self.director.ended(routed)

    def _over(self, flight: Flight, end: End, reason: str = "") -> None:
        now = self.loop.now
        flight.end, flight.reason, flight.ended = end, reason, now
        flight.routed = flight.sequence = None  # a million of them stay until the run is over
        self.left -= 1
        for number in self._followers.pop(flight.number, ()):
            self.loop.at(max(now, flight.arrived + self._arrivals[number].gap_s), self._arrive, number)

    def _scrape(self, _: None) -> None:
        now = self.loop.now
        for member in self.members:
            if member.alive and member.endpoint is not None:
                member.endpoint.load = member.sample(now)
        if self.gate is not None:
            self.gate.wake()
        if self.left:
            self.loop.at(now + self.plan.scrape_s, self._scrape)


def _classes(plan: Plan, count: int) -> list[str]:
    """A class for each arrival, drawn by the mix; the same for every policy."""
    rng = Random(f"classes {plan.seed}")
    bounds = list(accumulate(plan.mix))
    if bounds[-1] <= 0:
        raise ValueError("the mix must have a share above 0")
    return rng.choices(list(CLASSES), cum_weights=bounds, k=count)
