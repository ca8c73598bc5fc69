"""The picker's own code among simulated replicas: one run of one policy under one load, from one seed.

Requests reach the director as JSON bodies. Must stay true: every arrival ends exactly once (arrived = done + shed +
failed + in flight); a run depends on nothing but its arguments; no time passes between the gateway and us, nor between
us and a replica.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from random import Random

from benchmarks.baselines.admission import Admission
from benchmarks.sim.course import Course
from benchmarks.sim.fleet import FleetSpec, names
from benchmarks.sim.flight import Flight
from benchmarks.sim.loop import VirtualLoop
from benchmarks.sim.member import Member
from benchmarks.sim.pickers import ALONE, Crew, Parts, hire
from benchmarks.sim.queues import Queues
from benchmarks.sim.quiet import NoAliases
from benchmarks.sim.site import CLASSES, GROUP, NAMESPACE, POOL, Site
from benchmarks.simulator.replica import StepResult
from benchmarks.workloads.questions import body as question_body
from benchmarks.workloads.text import prompt
from benchmarks.workloads.workload import PLAIN, Arrival, Ask, Shape
from epp.datastore.objects import Objective, PoolRef
from epp.datastore.policies import Policies
from epp.datastore.pool import Pool
from epp.domain import Chooser
from epp.flow.settings import FlowSettings
from epp.protocol.headers import FAIRNESS, OBJECTIVE, SESSION
from epp.protocol.messages import Decide
from epp.scheduling.framework import Profile
from epp.scheduling.spill import SpillRules

HEADERS = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json"}


@dataclass(slots=True, frozen=True)
class Plan:
    """One run. `mix` are the shares of critical, standard and sheddable requests.

    `admission` stands before us, `flow` are the settings of our own gate; None: there is none. `shown` says that the
    gateway shows us answers (full duplex), so that we see first tokens; else it shows their headers only (W1).
    """

    fleet: FleetSpec
    block_tokens: int
    profile: Callable[[], Profile]
    seed: int
    scrape_s: float = 0.05
    mix: tuple[float, float, float] = (0.0, 1.0, 0.0)
    shape: Shape = PLAIN
    admission: Callable[[], Admission | None] = lambda: None
    flow: FlowSettings | None = None
    shown: bool = True
    chooser: Callable[[Pool, Random], Chooser] = lambda pool, rng: NoAliases()
    """Which model answers; by default the one that the request names."""
    spill: SpillRules | None = None
    """When a request leaves its model for another; None: never."""
    crew: Crew = ALONE
    """How many pickers the requests are dealt over."""


class World:
    """One run; it stops early when `enough` says of a request that has ended that it was."""

    def __init__(
        self, plan: Plan, arrivals: Sequence[Arrival], enough: Callable[[Flight], bool] = lambda ended: False
    ) -> None:
        self.plan = plan
        self._enough = enough
        self.loop = VirtualLoop()
        self.pickers = hire(
            plan.crew, Parts(_pool, plan.profile, plan.chooser, plan.flow, plan.spill, self.loop.time, plan.seed)
        )
        self._deal = Random(f"deal {plan.seed}")
        replicas = plan.fleet.replicas
        self.members = [
            Member(
                name,
                f"10.0.{n >> 8}.{n & 255}:8000",
                plan.fleet.config(kind, plan.block_tokens),
                self.loop,
                self._on_step,
                serves=dict.fromkeys([plan.fleet.model_of(kind), *plan.shape.adapters], plan.fleet.model_of(kind)),
            )
            for n, (name, kind) in enumerate(zip(names(replicas), replicas, strict=True))
        ]
        self.flights: list[Flight] = []
        self.queues = Queues()
        self.left = len(arrivals)
        self.course = Course(self.loop, self.members, self._over, shown=plan.shown)
        self.site = Site(self.loop, self.pickers, self.members, lost=self.course.lost)
        self._admission = plan.admission()
        self._admission_rng = Random(f"admission {plan.seed}")
        self._arrivals = arrivals
        self._classes = _classes(plan, len(arrivals))
        self._roots = [n for n, arrival in enumerate(arrivals) if arrival.after is None]
        self._next = 0
        self._followers: dict[int, list[int]] = {}
        for number, arrival in enumerate(arrivals):
            if arrival.after is not None:
                self._followers.setdefault(arrival.after, []).append(number)

    def run(self) -> list[Flight]:
        """The requests in the order of their arrival, all of them over, unless stopped early."""
        shape, last = self.plan.shape, max((arrival.at for arrival in self._arrivals), default=0.0)
        try:
            self.site.open(shape, last)
            self._scrape(None)
            self._schedule_root()
            self.loop.run()
        finally:
            self.loop.close()
        assert self.left == 0 or self.loop.halted, f"{self.left} requests never ended"
        for member in self.members:
            member.close()
        return self.flights

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
        picker = self.pickers[self._deal.randrange(len(self.pickers))]
        if self._admission is not None:
            endpoints, priority = picker.pool.endpoints, CLASSES[klass]
            reason = self._admission.refuses(priority, endpoints, self.loop.now, self._admission_rng)
            if reason is not None:
                flight.end, flight.reason, flight.ended = "shed", reason, self.loop.now
                self._over(flight)
                return
        headers = dict(HEADERS)
        if klass != "standard":
            headers[OBJECTIVE[0]] = klass
        if ask.tenant is not None:
            headers[FAIRNESS[0]] = ask.tenant
        if ask.session is not None:
            headers[SESSION[0]] = ask.session
        decide = Decide(headers, self._body(ask), None, None, sees_answer=self.plan.shown)
        flight.director = picker.director
        self.loop.drive(picker.director.decide(decide), partial(self.course.decided, flight))

    def _body(self, ask: Ask) -> bytes:
        if ask.question is not None:
            return question_body(ask.question.text)
        content = prompt(ask.blocks, ask.prompt_tokens, self.plan.block_tokens)
        model = (ask.adapter or self.plan.fleet.model).encode()
        return b'{"model":"%b","stream":true,"messages":[{"role":"user","content":"%b"}]}' % (model, content)

    def _on_step(self, member: Member, result: StepResult) -> None:
        self.course.stepped(member, result)

    def _over(self, flight: Flight) -> None:
        self.left -= 1
        if self._enough(flight):
            self.loop.halt()
            return
        for number in self._followers.pop(flight.number, ()):
            due = flight.arrived + self._arrivals[number].gap_s
            self.loop.at(max(self.loop.now, due), self._arrive, number)

    def _scrape(self, _: None) -> None:
        self.site.scrape()
        gates = [picker.gate for picker in self.pickers if picker.gate is not None]
        for gate in gates:
            gate.wake()
        self.queues.sample(self.loop.now, self.members, sum(map(len, gates)))
        if self.left:
            self.loop.at(self.loop.now + self.plan.scrape_s, self._scrape)


def _pool() -> Pool:
    pool = Pool(POOL)
    pool.policies = Policies(
        (f"{NAMESPACE}/{POOL}",),
        [Objective(NAMESPACE, name, PoolRef(GROUP, POOL), priority) for name, priority in CLASSES.items()],
    )
    return pool


def _classes(plan: Plan, count: int) -> list[str]:
    """A class for each arrival, drawn by the mix; the same for every policy."""
    rng = Random(f"classes {plan.seed}")
    return rng.choices(list(CLASSES), cum_weights=list(accumulate(plan.mix)), k=count)
